"""An installation that can be broken: a store behind proxies, two APIs, workers, a supervisor."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx

from jobs.keys import Keys
from jobs.ledger import Ledger
from jobs.settings import DEMO_MODEL
from jobs.store import connect
from llava_jobs.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.faults.proxy import Proxy
from tests.faults.script import ACTED
from tests.installations import GUNICORN, Running, environment, free_port

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
SUPERVISION_S = 0.02


class Member:
    """One process of the installation, started anew by the supervisor whenever it ends."""

    def __init__(self, name: str, command: Iterable[str], env: dict[str, str]) -> None:
        self.name = name
        self.wanted = True
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
    """

    def __init__(self, folder: Path, workers: int = 3) -> None:
        self.store = EmbeddedStore(folder / "store")
        self.store.start()
        self.client: Any = connect(self.store.url)
        self.ledger = Ledger(self.client)
        self.of_apis = Proxy(self.store.port)
        self.of_workers = Proxy(self.store.port)
        self._acted = folder / "acted"
        self._acted.mkdir()
        self.apis = [self._api() for _ in range(2)]
        self.workers = [self._worker(number) for number in range(workers)]
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

    def ready(self) -> None:
        """Wait until all APIs answer and all workers have said that they live."""
        eventually(self._is_ready, "all parts are there", 90)

    def start_store(self) -> None:
        """Start the store that was killed, on its port and its data."""
        self.store.start()

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
        for proxy in self.proxies:
            proxy.close()
        self.client.close()
        self.store.stop()

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
        env = self._environment(self.of_apis)
        return Member(f"http://127.0.0.1:{port}", [*command, "api:create_app()"], env)

    def _worker(self, number: int) -> Member:
        return Member(f"worker {number}", WORKER, self._environment(self.of_workers))

    def _environment(self, proxy: Proxy) -> dict[str, str]:
        url = self.store.url.replace(f":{self.store.port}/", f":{proxy.port}/")
        return {**environment(redis_url=url, **SETTINGS), ACTED: str(self._acted)}

    def _supervise(self) -> None:
        while not self._stop.wait(SUPERVISION_S):
            for member in (*self.apis, *self.workers):
                member.supervise()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=5).is_success
    except httpx.HTTPError:
        return False
