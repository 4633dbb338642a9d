"""A store that is killed at any command leaves each change of state done wholly or not at all."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from jobs.errors import StoreUnavailable
from jobs.store import connect
from llava_jobs.embedded import EmbeddedStore
from tests.ledgers import Clock, assert_counts_are_true
from tests.stores import memory_folder
from tests.unit.jobs.operations import NO_STATE, OPERATIONS, Operation, Scripted, contents


class Killer:
    """A way to a store that kills it at the ``at``-th command, before or after its execution."""

    def __init__(self, store: EmbeddedStore, at: int, *, executed: bool) -> None:
        self.has_killed = False
        self._store = store
        self._left = at
        self._executed = executed
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    @property
    def url(self) -> str:
        """The store's URL by this way."""
        port = int(self._listener.getsockname()[1])
        return self._store.url.replace(f":{self._store.port}/", f":{port}/")

    def close(self) -> None:
        """Accept no more, and wait for what runs to end."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self.has_killed:
                caller, _ = self._listener.accept()
                self._carry(caller)
            self._listener.close()

    def _carry(self, caller: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self._store.port))
        with caller, server, caller.makefile("rb") as commands:
            while command := _read_command(commands):
                self._left -= _is_ours(command)
                if self._left < 0 and not self._executed:
                    self._kill()
                    return
                server.sendall(command)
                reply = server.recv(1 << 20)
                if self._left < 0:
                    self._kill()
                    return
                caller.sendall(reply)

    def _kill(self) -> None:
        os.kill(self._store.pid, signal.SIGKILL)
        self.has_killed = True


def _read_command(commands: Any) -> bytes:
    """The next command, as sent: an array of bulk strings (RESP, redis.io/docs/reference)."""
    head = commands.readline()
    parts = [head]
    for _ in range(int(head[1:] or 0)):
        length = commands.readline()
        parts += [length, commands.read(int(length[1:]) + 2)]
    return b"".join(parts)


def _is_ours(command: bytes) -> bool:
    """Whether it is the ledger's, and none of those that open a connection."""
    name = command.split(b"\r\n")[2].upper()
    return name not in {b"HELLO", b"AUTH", b"CLIENT", b"SELECT", b"PING"}


@pytest.fixture(scope="module")
def mortal() -> Iterator[EmbeddedStore]:
    """A store to be killed, with its files in memory: what is tested is the order of things."""
    with (
        tempfile.TemporaryDirectory(prefix="store-", dir=memory_folder()) as folder,
        EmbeddedStore(Path(folder)) as embedded,
    ):
        yield embedded


def _undisturbed(store: EmbeddedStore, operation: Operation) -> tuple[Any, Any]:
    """What the store holds before the operation and after it."""
    with contextlib.closing(connect(store.url)) as client:
        client.flushall()
        clock = Clock()
        ledger = Scripted(client, clock=clock)
        prepared = operation.prepare(ledger, clock)
        before = contents(client)
        operation.run(ledger, prepared)
        return before, contents(client)


def test_every_script_that_changes_state_is_among_those_held_to_it() -> None:
    scripts = {path.stem for path in (Path(__file__).parents[3] / "jobs" / "lua").glob("*.lua")}
    assert {operation.script for operation in OPERATIONS} == scripts - NO_STATE


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_a_store_killed_at_any_command_has_done_all_of_a_change_or_nothing(
    mortal: EmbeddedStore, operation: Operation
) -> None:
    before, after = _undisturbed(mortal, operation)
    assert before != after
    # Killed after one command is killed before the next.
    assert _killed(mortal, operation, 0, False, before, after)
    later = (_killed(mortal, operation, at, True, before, after) for at in range(9))
    assert 1 <= len(list(takewhile(bool, later))) < 9


def _killed(
    store: EmbeddedStore, operation: Operation, at: int, executed: bool, before: Any, after: Any
) -> bool:
    """Hold one place to the rule; False where the operation has no such command."""
    clock = Clock()
    with contextlib.closing(connect(store.url)) as client:
        client.flushall()
        prepared = operation.prepare(Scripted(client, clock=clock), clock)
    killer = Killer(store, at, executed=executed)
    told = True
    try:
        # Without redis-py's own retries, which would find the store away anyhow.
        client = redis.Redis.from_url(killer.url, retry=Retry(NoBackoff(), 0))
        with contextlib.closing(client):
            operation.run(Scripted(client, clock=clock), prepared)
    except StoreUnavailable:
        told = False
    finally:
        killer.close()
    if not killer.has_killed:
        return False
    store.stop()  # which is dead, and is waited for
    store.start()
    with contextlib.closing(connect(store.url)) as client:
        ledger = Scripted(client, clock=clock)
        left = contents(client)
        assert left in (before, after)
        assert not told or left == after
        assert_counts_are_true(client, ledger)
        if operation.settles:
            operation.run(ledger, prepared)
            assert contents(client) == after
    return True
