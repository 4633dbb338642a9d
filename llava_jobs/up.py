"""`llava-jobs up`: the store, the API and the workers, together in the foreground."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from jobs.errors import ConfigurationError
from jobs.keys import DEFAULT_TENANT, Keys
from jobs.settings import Settings
from jobs.store import connect, inspect
from llava_jobs.child import Child
from llava_jobs.embedded import EmbeddedStore
from llava_jobs.folder import FolderInUse

_TICK_S = 0.2
_LONGEST_WAIT_S = 30


@dataclass(frozen=True)
class Plan:
    """What to run: where to listen, where to keep data, and how many workers."""

    host: str
    port: int
    data_dir: Path
    workers: int
    settings: Settings

    @property
    def url(self) -> str:
        """The root of the API for a client on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://{_authority(host, self.port)}"

    @property
    def bind(self) -> str:
        """The address to listen on, as gunicorn reads it."""
        return _authority(self.host, self.port)


class Up:
    """A running installation; ``say`` is called with each thing that its user should know."""

    def __init__(self, plan: Plan, say: Callable[[str], object]) -> None:
        self._plan = plan
        self._say = say
        self._stopped = False
        self._children: list[Child] = []
        self._embedded: EmbeddedStore | None = None
        self._store_starts = 0
        self.first_key: str | None = None
        """The key made at first start; None at every later one."""

    @property
    def url(self) -> str:
        """The root of the API for a client on this machine."""
        return self._plan.url

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Start everything, and stop it in order on leaving: workers, API, store.

        Raises ConfigurationError, StoreUnavailable.
        """
        _check_free(self._plan.host, self._plan.port)
        with self._store() as store_url:
            client = connect(store_url)
            settings = self._plan.settings
            server = inspect(client, settings.durability)
            self._say(f"store: {server}")
            self._first_key(
                Keys(client, durability=server.durability, replicas=settings.durable_replicas)
            )
            client.close()
            self._children = self._plan_children(store_url)
            try:
                for child in self._children:
                    child.start()
                yield
            finally:
                self._stop_children()

    def stop(self) -> None:
        """Have ``await_ready`` and ``watch`` return; safe in a signal handler.

        That runs on top of whatever the main thread does, so it must take no lock: setting a
        ``threading.Event`` that the thread is about to wait for would hang.
        """
        self._stopped = True

    def await_ready(self, waiting: Callable[[float], object] = lambda _: None) -> bool:
        """Wait until a job would be answered; False where it was stopped before.

        ``waiting`` is called now and then with the seconds waited so far. Raises
        ConfigurationError where a child says that its configuration cannot work.
        """
        started = time.monotonic()
        while not self._ready():
            waiting(time.monotonic() - started)
            self._look_after_children()
            if self._pause(_TICK_S):
                return False
        return True

    def watch(self) -> None:
        """Restart children that die until stopped; raises ConfigurationError as above."""
        while not self._pause(_TICK_S):
            self._look_after_children()

    def _pause(self, seconds: float) -> bool:
        """Wait, and return whether it was stopped."""
        until = time.monotonic() + seconds
        while not self._stopped and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _TICK_S))
        return self._stopped

    @contextlib.contextmanager
    def _store(self) -> Iterator[str]:
        given = self._plan.settings.redis_url
        self._plan.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if given:
            yield given.get_secret_value()
            return
        memory_mb = self._plan.settings.store_memory_mb
        store = EmbeddedStore(self._plan.data_dir, memory_mb, "llava-jobs up")
        store.start(is_stopped=lambda: self._stopped)
        try:
            self._embedded = store
            self._say(
                f"embedded store: 127.0.0.1:{store.port}, data in {store.data_dir} "
                f"(its password is in {store.data_dir / 'store.url'} while it runs)"
            )
            yield store.url
        finally:
            store.stop()

    def _first_key(self, keys: Keys) -> None:
        bootstrap = self._plan.settings.bootstrap_key
        self.first_key = keys.create_first(
            DEFAULT_TENANT, bootstrap.get_secret_value() if bootstrap else None
        )
        if self.first_key and bootstrap is None:
            self._say(f"your key, shown this once: {self.first_key}")
            self._say(f"  export LLAVA_JOBS_API_KEY={self.first_key}")

    def _plan_children(self, store_url: str) -> list[Child]:
        plan = self._plan
        env = {
            "LLAVA_JOBS_REDIS_URL": store_url,
            "LLAVA_JOBS_MODEL": plan.settings.model,
            "PYTHONUNBUFFERED": "1",
        }
        gunicorn = ["gunicorn", "-c", "python:api.server.gunicorn_conf", "-b", plan.bind]
        celery = ["celery", "--quiet", "-A", "worker", "worker", "--loglevel", "WARNING"]
        commands = {
            "api": [*gunicorn, "api:create_app()"],
            "deliver": ["llava_jobs", "deliver"],
        }
        commands |= {
            f"worker-{n}": [*celery, "-n", f"worker-{n}@%h"] for n in range(1, plan.workers + 1)
        }
        own = {f"worker-{n}": self._metrics_port(n) for n in range(1, plan.workers + 1)}
        return [
            Child(
                name,
                [sys.executable, "-m", *command],
                {**env, **own.get(name, {})},
                plan.data_dir / f"{name}.log",
            )
            for name, command in commands.items()
        ]

    def _metrics_port(self, worker: int) -> dict[str, str]:
        """Return the variable that gives each worker, from 1 on, a port of its own."""
        first = self._plan.settings.metrics_port
        return {"LLAVA_JOBS_METRICS_PORT": str(first + worker - 1)} if first else {}

    def _ready(self) -> bool:
        try:
            response = httpx.get(f"{self._plan.url}/readyz", timeout=5)
            workers: dict[str, int] = response.json()["workers"]
        except (httpx.HTTPError, ValueError, KeyError):
            return False
        return workers.get(self._plan.settings.served_model, 0) >= min(self._plan.workers, 1)

    def _look_after_store(self) -> None:
        """Start the embedded store again where it died; what it accepted is on its disk."""
        store = self._embedded
        if store is None or store.alive():
            return
        wait = min(2**self._store_starts, _LONGEST_WAIT_S)
        self._store_starts += 1
        self._say(f"the store ended; starting it again in {wait} s; {store.log} says more")
        if self._pause(wait):
            return
        try:
            store.start(is_stopped=lambda: self._stopped)
        except FolderInUse as error:
            self._say(str(error))
        else:
            self._say("the store started again")

    def _look_after_children(self) -> None:
        self._look_after_store()
        for child in self._children:
            status = child.exit_status()
            if status == os.EX_CONFIG:
                raise ConfigurationError(f"{child.name} cannot start: {child.last_words()}")
            if status is not None:
                wait = child.schedule_restart()
                self._say(
                    f"{child.name} {child.describe_exit(status)}; "
                    f"starting it again in {wait:g} s; {child.log} says more"
                )
            elif child.start_if_due():
                self._say(f"{child.name} started again")

    def _stop_children(self) -> None:
        """Stop the workers first, so that what they hand back still finds its way."""
        grace = self._plan.settings.drain_seconds + 20
        for child in self._children[1:]:
            child.terminate()
        for child in self._children[1:]:
            child.join(grace)
        for child in self._children[:1]:
            child.terminate()
            child.join(10)


def _authority(host: str, port: int) -> str:
    """Return an address and port as a URL has them (RFC 3986): IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _check_free(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {_authority(host, port)} ({error.strerror}); "
                "choose another --port"
            ) from None


def run(plan: Plan, say: Callable[[str], object]) -> None:
    """Run an installation until Ctrl-C or SIGTERM.

    Raises ConfigurationError, StoreUnavailable, each with the cure in its message.
    """
    up = Up(plan, say)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: up.stop())
    with up.running():
        if up.await_ready():
            say(f"ready {plan.url}")
            say(f"console: {plan.url}/ in a browser; sign in with a key")
            up.watch()
        say("stopping")
    say("stopped")
