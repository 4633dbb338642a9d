"""A store that is killed at any command leaves each change of state done wholly or not at all."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from jobs.errors import StoreUnavailable
from jobs.job import Draft, Job
from jobs.ledger import Ledger, Limits
from jobs.request import Conversation, Turn
from jobs.store import connect
from llava_jobs.embedded import EmbeddedStore
from tests.ledgers import ANSWER, FAILURE, MODEL, Clock, assert_counts_are_true, claimed, draft
from tests.stores import memory_folder

LIMITS = Limits(lease=30_000, retention=60_000)
Prepare = Callable[[Ledger, Clock], Any]


@dataclass(frozen=True)
class Operation:
    """One call of the ledger: what is there before it, and whether its caller may call again."""

    name: str
    prepare: Prepare
    run: Callable[[Ledger, Any], Any]
    settles: bool = True

    def __str__(self) -> str:
        return self.name


def numbered(number: int, question: str = "What is the error code?", **fields: Any) -> Draft:
    """A job that is the same whenever it is made."""
    conversation = Conversation((Turn("user", (question,)),))
    return draft(id=f"job_{number:032x}", conversation=conversation, **fields)


def queued(ledger: Ledger, number: int = 1, **fields: Any) -> Job:
    """A job that waits, unlike others."""
    return ledger.submit(numbered(number, f"What is {number}?", **fields))[0]


def held(ledger: Ledger, _: Clock) -> Any:
    """A job in a worker's hands, and two that follow it."""
    for number in (1, 2, 3):
        ledger.submit(numbered(number))
    return claimed(ledger)


def overdue(ledger: Ledger, clock: Clock) -> None:
    """Something for each thing that a sweep repairs."""
    ledger.finish(_claim_of(ledger, 1), ANSWER)
    clock.forward(LIMITS.retention - 31_000)
    _claim_of(ledger, 2)
    ledger.retry(_claim_of(ledger, 3), 31_000, FAILURE)
    queued(ledger, 4, deadline_ms=1000)
    clock.forward(31_001)


def suspected(ledger: Ledger, clock: Clock) -> None:
    """A job that was part of a crash, and one that was not."""
    ledger.crash(_claim_of(ledger, 1), "engine_failed")
    queued(ledger, 2)


def _claim_of(ledger: Ledger, number: int) -> Any:
    queued(ledger, number)
    return claimed(ledger)


def _cancel_held(ledger: Ledger, clock: Clock) -> Any:
    claim = held(ledger, clock)
    ledger.cancel("acme", claim.job.id)
    return claim


def _unheard(ledger: Ledger, clock: Clock) -> None:
    held(ledger, clock)
    clock.forward(LIMITS.lease // 2)


OPERATIONS = [
    Operation("submit", lambda *_: None, lambda to, _: to.submit(numbered(1))),
    Operation(
        "submit under an idempotency key",
        lambda *_: None,
        lambda to, _: to.submit(numbered(1, idempotency_key="k", fingerprint="f")),
    ),
    Operation("submit the same", held, lambda to, _: to.submit(numbered(9))),
    Operation(
        "submit what was answered",
        lambda to, clock: to.finish(held(to, clock), ANSWER),
        lambda to, _: to.submit(numbered(9)),
    ),
    Operation(
        "supersede",
        lambda to, _: (queued(to, 1, group="g"), _claim_of(to, 2), queued(to, 3, group="g")),
        lambda to, _: to.submit(numbered(9, "And now?", group="g", supersede=True)),
    ),
    Operation("claim", lambda to, _: queued(to), lambda to, _: to.claim(MODEL, "w1"), False),
    Operation("claim a suspect", suspected, lambda to, _: to.claim(MODEL, "w2"), False),
    Operation("finish", held, lambda to, claim: to.finish(claim, ANSWER)),
    Operation("finish what is canceled", _cancel_held, lambda to, claim: to.finish(claim, ANSWER)),
    Operation("hand back", held, lambda to, claim: to.hand_back(claim)),
    Operation("retry", held, lambda to, claim: to.retry(claim, 100, FAILURE)),
    Operation("crash", held, lambda to, claim: to.crash(claim, "engine_failed")),
    Operation(
        "renew",
        held,
        lambda to, claim: to.renew("w1", MODEL, {}, {claim.job.id: claim.fence}),
    ),
    Operation(
        "renew without what was not heard of",
        _unheard,
        lambda to, _: to.renew("w1", MODEL, {}, {}),
    ),
    Operation("cancel", lambda to, _: queued(to), lambda to, job: to.cancel("acme", job.id)),
    Operation("cancel what runs", held, lambda to, claim: to.cancel("acme", claim.job.id)),
    Operation("erase", held, lambda to, claim: to.erase("acme", claim.job.id)),
    Operation("sweep", overdue, lambda to, _: to.sweep()),
]


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


def contents(client: Any) -> dict[str, Any]:
    """What the store holds, without what its clock and no script of ours decides."""
    readers: dict[bytes, Callable[[bytes], Any]] = {
        b"string": client.get,
        b"hash": lambda key: {
            name: len(value.split()) if name == b"events" else value
            for name, value in client.hgetall(key).items()
        },
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"stream": lambda key: [fields for _, fields in client.xrange(key)],
    }
    return {key.decode(): readers[client.type(key)](key) for key in client.scan_iter(count=1000)}


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
        ledger = Ledger(client, LIMITS, clock=clock)
        prepared = operation.prepare(ledger, clock)
        before = contents(client)
        operation.run(ledger, prepared)
        return before, contents(client)


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
        prepared = operation.prepare(Ledger(client, LIMITS, clock=clock), clock)
    killer = Killer(store, at, executed=executed)
    told = True
    try:
        # Without redis-py's own retries, which would find the store away anyhow.
        client = redis.Redis.from_url(killer.url, retry=Retry(NoBackoff(), 0))
        with contextlib.closing(client):
            operation.run(Ledger(client, LIMITS, clock=clock), prepared)
    except StoreUnavailable:
        told = False
    finally:
        killer.close()
    if not killer.has_killed:
        return False
    store.stop()  # which is dead, and is waited for
    store.start()
    with contextlib.closing(connect(store.url)) as client:
        ledger = Ledger(client, LIMITS, clock=clock)
        left = contents(client)
        assert left in (before, after)
        assert not told or left == after
        assert_counts_are_true(client, ledger)
        if operation.settles:
            operation.run(ledger, prepared)
            assert contents(client) == after
    return True
