"""A data folder, which one store server uses at a time: its lock, its holder, and its URL."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

import click
import redis

from jobs.errors import ConfigurationError
from jobs.store import connect

LOCK_FILE = "lock"
"""File in the data folder that its server holds locked for as long as the server lives."""
URL_FILE = "store.url"
"""File in the data folder, for its owner's eyes, that tells other commands where the store is."""
PATIENCE_S = 60.0
"""How long a server may take to load its file, or to end, before a command gives up on it."""
_LOOK_S = 0.05
_SAY_S = 5.0


class FolderInUse(ConfigurationError):
    """Raised when the server of another process holds a data folder."""


def lock(folder: Path, owner: str) -> int:
    """Lock a folder for ``owner``, and return the descriptor that keeps the lock while it is open.

    A process that inherits the descriptor keeps the lock, too. Raises FolderInUse.
    """
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise in_use(folder) from None
    os.truncate(descriptor, 0)
    os.write(descriptor, f"{owner} (process {os.getpid()})\n".encode())
    return descriptor


def await_lock(
    folder: Path, owner: str, patience_s: float, is_stopped: Callable[[], bool] = lambda: False
) -> int:
    """Lock a folder as ``lock`` does, and wait for a server that loads or ends.

    Raises FolderInUse after ``patience_s``, as soon as ``is_stopped`` says so, and at once where a
    store serves from the folder.
    """
    waiting = _Waiting(f"waiting until {folder} is free", patience_s)
    while True:
        try:
            return lock(folder, owner)
        except FolderInUse:
            if running_url(folder) or is_stopped() or not waiting.goes_on():
                raise


def is_locked(folder: Path) -> bool:
    """Whether a server holds a folder."""
    with contextlib.suppress(FileNotFoundError), (folder / LOCK_FILE).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def holder(folder: Path) -> str:
    """Return who locked a folder last, for people to read."""
    try:
        return (folder / LOCK_FILE).read_text().strip() or "another process"
    except OSError:
        return "another process"


def in_use(folder: Path) -> FolderInUse:
    """Return the error that names a folder's holder and says what to do."""
    return FolderInUse(
        f"{holder(folder)} holds {folder}; stop it, or name another folder with --data-dir"
    )


def running_url(folder: Path) -> str | None:
    """Return the URL of the store that runs on a folder; None where none answers."""
    try:
        url = (folder / URL_FILE).read_text()
    except OSError:
        return None
    try:
        with contextlib.closing(connect(url)) as client:
            client.ping()
    except (redis.RedisError, ConfigurationError):
        return None
    return url


def await_url(folder: Path, patience_s: float = PATIENCE_S) -> str | None:
    """Return the URL of a folder's store once it has loaded its file; None where none runs.

    Raises FolderInUse where it is not ready after ``patience_s``.
    """
    waiting = _Waiting(f"waiting for the store of {folder}, which loads or ends", patience_s)
    while True:
        if url := running_url(folder):
            return url
        if not is_locked(folder):
            return None
        if not waiting.goes_on():
            raise in_use(folder)


class _Waiting:
    """A bounded wait that says every few seconds, on standard error, what it is for."""

    def __init__(self, what: str, patience_s: float) -> None:
        self._what = what
        self._began = time.monotonic()
        self._give_up = self._began + patience_s
        self._say_at = self._began + 2 * _LOOK_S

    def goes_on(self) -> bool:
        """Wait a moment; False once there is no patience left."""
        now = time.monotonic()
        if now >= self._give_up:
            return False
        if now >= self._say_at:
            self._say_at = now + _SAY_S
            click.echo(f"{self._what}: {now - self._began:.0f} s", err=True)
        time.sleep(_LOOK_S)
        return True
