"""Installations and single processes as their users start them, for tests from the outside."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.eventually import PATIENCE_S, eventually
from tests.gate import SPEED, gated

COMMAND = [str(Path(sys.executable).with_name("llava-jobs"))]
GATED_COMMAND = [sys.executable, "-m", "tests.gated_up"]
GUNICORN = [sys.executable, "-m", "gunicorn", "-c", "python:api.server.gunicorn_conf"]
CELERY = [sys.executable, "-m", "celery", "--quiet", "-A", "worker", "worker"]
GATED_CELERY = gated(CELERY)
if SPEED != 1:
    CELERY = GATED_CELERY


def environment(**settings: str) -> dict[str, str]:
    """An environment with these settings and none of whoever runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("LLAVA_JOBS_")}
    ours = {f"LLAVA_JOBS_{name.upper()}": value for name, value in settings.items()}
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **ours}


def free_port() -> int:
    """A port of the loopback address that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(*arguments: str, within_s: float = PATIENCE_S, **settings: str) -> tuple[int, str]:
    """Run the `llava-jobs` command to its end; its status and what it printed.

    What it said on standard error beside that is there only where it failed.
    """
    ran = subprocess.run(
        [*COMMAND, *arguments],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=within_s,
    )
    return ran.returncode, ran.stdout + (ran.stderr if ran.returncode else "")


@dataclass(frozen=True)
class Seen:
    """A process at one time; a later process of the same id is another."""

    pid: int
    parent: int
    started: str
    command: str

    @property
    def lives(self) -> bool:
        """Whether the process still runs."""
        now = _look(self.pid)
        return now is not None and now.started == self.started


def _look(pid: int) -> Seen | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return None
    return None if fields[0] == "Z" else Seen(pid, int(fields[1]), fields[19], command.strip())


def descendants(pid: int) -> list[Seen]:
    """All processes that a process started, and theirs."""
    numbers = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    alive = [seen for number in numbers if (seen := _look(number))]
    found: list[Seen] = []
    parents = {pid}
    while parents:
        children = [seen for seen in alive if seen.parent in parents]
        found += children
        parents = {child.pid for child in children}
    return found


class Running:
    """A process that a test started, what it printed, and its end."""

    def __init__(
        self, command: Iterable[str], env: Mapping[str, str], folder: Path | None = None
    ) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            list(command),
            env=dict(env),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    @property
    def text(self) -> str:
        """All that it printed so far."""
        return "\n".join(self.lines)

    @property
    def family(self) -> list[Seen]:
        """All processes that it started, and theirs."""
        return descendants(self.pid)

    def line(self, pattern: str, within_s: float = PATIENCE_S) -> re.Match[str]:
        """Wait for a line; fails where the process ends before or does not print it in time."""

        def look() -> re.Match[str] | None:
            ended = self.ended
            for line in list(self.lines):
                if found := re.search(pattern, line):
                    return found
            assert not ended, f"ended with {self._process.returncode}:\n{self.text}"
            return None

        return eventually(look, f"a line like {pattern!r}", within_s)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def status(self, within_s: float = PATIENCE_S) -> int:
        """Wait for the end; the exit status."""
        status = self._process.wait(within_s)
        self._reader.join()
        return status

    def end(self) -> None:
        """Leave nothing behind, however the test went."""
        family = self.family
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE_S)
        for seen in family:
            if seen.lives:
                os.kill(seen.pid, signal.SIGKILL)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()
        if self._process.stdout:
            self._process.stdout.close()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self.lines.append(line.rstrip("\n"))


class Installation(Running):
    """A whole installation: `llava-jobs up`."""

    command = COMMAND if SPEED == 1 else GATED_COMMAND

    def __init__(self, data_dir: Path, *options: str, **settings: str) -> None:
        self.data_dir = data_dir
        self.settings = settings
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        place = ["--port", str(self.port), "--data-dir", str(data_dir)]
        super().__init__([*self.command, "up", *place, *options], environment(**settings))

    def ready(self) -> None:
        """Wait for the line that says so."""
        self.line(rf"^ready {re.escape(self.url)}$")

    @property
    def key(self) -> str:
        """The key that it printed."""
        return self.line(r"^your key.*: (lj_\w+)$").group(1)

    def process(self, *words: str) -> Seen:
        """The one process of its children whose command has all these words."""
        [found] = [
            seen
            for seen in self.family
            if seen.parent == self.pid and all(word in seen.command for word in words)
        ]
        return found


class GatedInstallation(Installation):
    """An installation whose workers obey the gate of `tests.gate`."""

    command = GATED_COMMAND


@contextlib.contextmanager
def caller(url: str, key: str) -> Iterator[httpx.Client]:
    """A client of an installation with a key."""
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url, headers=headers, timeout=PATIENCE_S) as client:
        yield client


def submit(http: httpx.Client, picture: bytes, **fields: Any) -> dict[str, Any]:
    """Post a picture and a question by multipart; the accepted job, which is run for itself."""
    data = {"question": "What is the error code?", "cache": "false", **fields}
    response = http.post("/v1/jobs", data=data, files={"image": ("a.png", picture)})
    assert response.status_code == 202, response.text
    job: dict[str, Any] = response.json()
    return job


def ended(http: httpx.Client, job_id: str, within_s: float = PATIENCE_S) -> dict[str, Any]:
    """Poll a job to its end as the server asks, by ETag and Retry-After."""
    give_up = time.monotonic() + within_s
    etag = ""
    job: dict[str, Any] = {}
    while True:
        response = http.get(
            f"/v1/jobs/{job_id}", headers={"If-None-Match": etag, "Prefer": "wait=2"}
        )
        if response.status_code != 304:
            assert response.status_code == 200, response.text
            job, etag = response.json(), response.headers["ETag"]
            if job["status"] in {"succeeded", "failed", "canceled"}:
                return job
        assert "Retry-After" in response.headers
        assert time.monotonic() < give_up, f"{job['status']} after {within_s:g} s"
