"""An installation as the compose file starts it, by its commands and in its environments."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from jobs.settings import Settings
from tests.conftest import absent
from tests.deployment import DEPLOY, SERVICES, check_of, command_of, environment_of
from tests.eventually import PATIENCE_S, eventually
from tests.gate import GATE, gated
from tests.installations import Running, caller, free_port
from tests.receivers import Receiver
from tests.shipped_store import ShippedStore
from tests.stores import memory_folder

MAX_FILE_BYTES = int(Settings.model_fields["max_body_bytes"].default) + 2**23
"""Of the API here: more than nginx lets through elsewhere."""
OF_TESTS = {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    "OMP_NUM_THREADS": "1",
}
"""What the commands find here as they do in an image."""


@dataclass
class Shipped:
    """Where the parts of such an installation are, and what a caller needs."""

    store: ShippedStore
    variables: Mapping[str, str]
    folder: Path
    api_port: int = field(default_factory=free_port)
    nginx_port: int = field(default_factory=free_port)
    running: dict[str, Running] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The root of the API as others reach it: nginx."""
        return f"http://127.0.0.1:{self.nginx_port}"

    @property
    def api_url(self) -> str:
        """The root of the API itself."""
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def key(self) -> str:
        """The first key."""
        return self.variables["LLAVA_JOBS_BOOTSTRAP_KEY"]

    def environment(self, service: str) -> dict[str, str]:
        """A service's environment by the compose file, in which places of containers are ours."""
        given = environment_of(service, self.variables)
        ours = {
            **given,
            "LLAVA_JOBS_REDIS_URL": re.sub(
                r"@store:6379/", f"@127.0.0.1:{self.store.port}/", given["LLAVA_JOBS_REDIS_URL"]
            ),
            "LLAVA_JOBS_PULSE_FILE": str(self.folder / f"{service}.pulse"),
        }
        if "LLAVA_JOBS_METRICS_PORT" in given:
            ours["LLAVA_JOBS_METRICS_PORT"] = str(free_port())
        return {**ours, **OF_TESTS, GATE: os.environ[GATE], "HOME": str(self.folder)}

    def start(
        self, service: str, *, variables: Mapping[str, str] | None = None, **settings: str
    ) -> Running:
        """Start a service by its command as it stands; settings only make a test quicker.

        Its workers obey the gate of `tests.gate`.

        ``variables`` are those that an image has.
        """
        words = [
            w.replace("0.0.0.0:8000", f"127.0.0.1:{self.api_port}")
            for w in gated(command_of(service))
        ]
        more = {f"LLAVA_JOBS_{name.upper()}": value for name, value in settings.items()}
        if service in self.running:
            self.running[service].end()
        running = Running(words, {**self.environment(service), **(variables or {}), **more})
        self.running[service] = running
        return running

    def start_nginx(self) -> Running:
        """Start nginx with the shipped configuration; see `nginx_command`."""
        folder = self.folder / "nginx"
        words = nginx_command(folder, listen=self.nginx_port, api=self.api_port)
        self.running["nginx"] = Running(words, OF_TESTS)
        eventually(lambda: answers(f"{self.url}/healthz"), "nginx answers")
        return self.running["nginx"]

    def end(self) -> None:
        """Leave nothing behind."""
        for running in self.running.values():
            running.end()

    def check(self, service: str) -> "subprocess.CompletedProcess[str]":
        """Run a service's healthcheck against what runs here."""
        places = {
            ":8000/": f":{self.api_port}/",
            ":8080/": f":{self.nginx_port}/",
        }
        if service == "store":
            places["valkey-cli"] = f"{valkey_cli(self.folder)} -p {self.store.port}"
        words = check_of(service)
        for place, ours in places.items():
            words = [word.replace(place, ours) for word in words]
        environment = OF_TESTS
        if "build" in SERVICES[service]:
            environment = self.environment(service)
        return subprocess.run(
            words, env=environment, capture_output=True, text=True, timeout=PATIENCE_S
        )

    def is_well(self, service: str) -> bool:
        """Whether a service's healthcheck finds it well."""
        return self.check(service).returncode == 0

    def logged(self) -> list[dict[str, Any]]:
        """What nginx's access log says."""
        lines = (self.folder / "nginx" / "stdout").read_text().splitlines()
        return [json.loads(line) for line in lines]


def answers(url: str) -> bool:
    """Whether anything answers there."""
    try:
        return httpx.get(url, timeout=5).status_code > 0
    except httpx.HTTPError:
        return False


def nginx_command(folder: Path, *, listen: int, api: int, patience: str = "330s") -> list[str]:
    """The command that runs nginx with the shipped configuration, its places made ours.

    ``patience`` is how long it waits for an answer of the API.
    """
    program = shutil.which("nginx") or absent("no nginx: run tests/fetch-tools")
    folder.mkdir(parents=True, exist_ok=True)
    text = (DEPLOY / "nginx.conf").read_text()
    for place, ours in {
        "listen 8080;": f"listen 127.0.0.1:{listen};",
        "server api:8000;": f"server 127.0.0.1:{api};",
        "proxy_read_timeout 330s;": f"proxy_read_timeout {patience};",
        "/tmp/": f"{folder}/",  # noqa: S108 - a place in the container
        "/dev/stdout": f"{folder}/stdout",
        "/dev/stderr": f"{folder}/stderr",
    }.items():
        assert place in text
        text = text.replace(place, ours)
    (folder / "nginx.conf").write_text(text)
    # Started as root, nginx would hand its files to a user who cannot look into a test's folder.
    owner = "user root; " if os.geteuid() == 0 else ""
    return [program, "-c", str(folder / "nginx.conf"), "-g", f"{owner}daemon off;"]


def valkey_cli(folder: Path) -> Path:
    """Redis' client, which speaks as Valkey's does."""
    root = Path(__file__).parents[3] / ".cache" / "redis" / "root"
    if not root.exists():
        absent("no redis-cli: run tests/fetch-redis")
    program = folder / "valkey-cli"
    libraries = os.pathsep.join(str(path) for path in (root / "usr" / "lib").glob("*-linux-gnu"))
    program.write_text(
        f'#!/bin/sh\nLD_LIBRARY_PATH="{libraries}" exec "{root}/usr/bin/redis-cli" "$@"\n'
    )
    program.chmod(0o755)
    return program


@pytest.fixture(scope="package")
def variables() -> Mapping[str, str]:
    """What `deploy/new-env` prints."""
    printed = subprocess.run(
        ["sh", str(DEPLOY / "new-env")], capture_output=True, text=True, check=True
    ).stdout
    return dict(re.findall(r"^(\w+)=(.*)$", printed, re.MULTILINE))


@pytest.fixture(scope="package")
def shipped_store(variables: Mapping[str, str]) -> Iterator[ShippedStore]:
    """The store as it is shipped, for all tests of what is shipped."""
    with (
        tempfile.TemporaryDirectory(prefix="shipped-", dir=memory_folder()) as folder,
        ShippedStore(Path(folder), variables) as store,
    ):
        yield store


@pytest.fixture(scope="package")
def shipped(
    shipped_store: ShippedStore,
    variables: Mapping[str, str],
    model_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Shipped]:
    """API behind nginx, sender and a worker over that store, by the compose file."""
    folder = tmp_path_factory.mktemp("shipped")
    ours = {
        **variables,
        "WEB_CONCURRENCY": "1",
        "LLAVA_JOBS_MODEL": str(model_folder),
        "LLAVA_JOBS_WEBHOOK_NETWORKS": "127.0.0.0/8",
        "LLAVA_JOBS_WEBHOOK_HTTP_HOSTS": "127.0.0.1",
    }
    found = Shipped(shipped_store, ours, folder)
    quick: dict[str, Any] = {"sweep_ms": "100", "lease_ms": "3000", "renew_ms": "300"}
    with ExitStack() as ending:
        ending.callback(found.end)
        found.start("api", tenant_connections="2", max_file_bytes=str(MAX_FILE_BYTES), **quick)
        found.start("worker", drain_seconds="1", **quick)
        found.start("deliver")
        eventually(lambda: answers(f"{found.api_url}/healthz"), "the API answers")
        found.start_nginx()
        eventually(lambda: _ready(found), "a worker is ready")
        for service in ("worker", "deliver"):
            eventually(partial(found.is_well, service), f"{service} is well")
        yield found


@pytest.fixture
def http(shipped: Shipped) -> Iterator[httpx.Client]:
    """A caller of that installation, through nginx."""
    with caller(shipped.url, shipped.key) as client:
        yield client


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of webhooks."""
    found = Receiver()
    yield found
    found.close()


def _ready(shipped: Shipped) -> bool:
    for name, running in shipped.running.items():
        assert not running.ended, f"{name}: {running.text}"
    try:
        answer = httpx.get(f"{shipped.url}/readyz", timeout=5)
        workers: dict[str, int] = answer.json().get("workers", {})
    except (httpx.HTTPError, ValueError):
        return False
    return any(workers.values())
