"""Running the ledger's Lua: each change of state is one script, and durable where it must be."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

import redis

from jobs.errors import StoreUnavailable
from jobs.store import told_plainly

PREFIX = "lj:"
"""Before every key of ours, so that one access rule covers them and nothing else is touched."""

DURABLE = f"{PREFIX}durable"
"""Each durable script writes this key, so that its connection has a write to wait for."""

Durability = Literal["waitaof", "always", "memory"]

_RELIEVING = frozenset(
    {
        *("claim", "finish", "release", "crash", "renew", "leave", "cancel", "sweep", "erase"),
        *("abandon", "supersede", "discard", "spend", "deliver", "delivered", "count", "signals"),
        *("intake", "drain", "revoke_key", "enable", "hint", "set_limits"),
        *("take_batch", "write_lines", "move_batch", "stop_batch", "erase_batch"),
        *("erase_file", "list", "ended_lines", "rest_batch", "retire", "tenants", "index_keys"),
    }
)
"""What makes room, or lets work and its callers go on, and so must run where memory is full."""

_ONCE = frozenset(
    {
        *("erase", "discard", "erase_file", "erase_batch", "revoke_key"),
        *("rotate_secret", "intake", "tell_again", "enable"),
    }
)
"""What would reply or do something else if the client sent it again, as where a reply was lost."""


class Script(NamedTuple):
    """The text of a script and its SHA-1, by which a server that has seen it knows it."""

    text: str
    digest: str


class Scripts:
    """The scripts of one store.

    ``durability`` is how a write is made durable (see jobs.store.Server), and ``replicas`` on how
    many servers besides; ``durability_timeout`` is in milliseconds. ``clock`` returns milliseconds
    since the epoch; without one the store's own clock counts, so that no two machines disagree.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        durability: Durability = "waitaof",
        replicas: int = 0,
        durability_timeout: int = 2_000,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self._client = client
        self._wanted = {"waitaof": (1, replicas), "always": (replicas,), "memory": ()}[durability]
        self._timeout = durability_timeout
        self._clock = clock or (lambda: 0)
        self._with_flags = True

    def run(self, name: str, *arguments: str | int | bytes, durable: bool = False) -> Any:
        """Run a script; where ``durable``, return once all that it saw or wrote is synced to disk.

        Raises LedgerFull, StoreUnavailable.
        """
        wait = durable and any(self._wanted)
        call = (f"{PREFIX}call:{uuid.uuid4().hex}",) if name in _ONCE else ()
        keys = (PREFIX, *([DURABLE] if wait else ()), *call)
        sent = (len(keys), *keys, self._clock(), *arguments)
        with told_plainly():
            try:
                reply, synced = self._send(name, sent, wait)
            except redis.exceptions.NoScriptError:
                self._load(name)
                reply, synced = self._send(name, sent, wait)
        if wait and any(had < wanted for had, wanted in zip(synced, self._wanted, strict=True)):
            raise StoreUnavailable("the store did not confirm its sync to disk", retry_after=5)
        return reply

    def _send(
        self, name: str, sent: tuple[str | int | bytes, ...], wait: bool
    ) -> tuple[Any, Sequence[int]]:
        digest = script(name, self._with_flags).digest
        if not wait:
            return self._client.evalsha(digest, *sent), ()
        # Both speak of the writes of their own connection, hence one pipeline.
        with self._client.pipeline(transaction=False) as pipe:
            pipe.evalsha(digest, *sent)
            pipe.execute_command(
                "WAITAOF" if len(self._wanted) > 1 else "WAIT", *self._wanted, self._timeout
            )
            # Raised by the pipeline, an error would have all arguments in its message, in letters.
            reply, synced = pipe.execute(raise_on_error=False)
        for answer in (reply, synced):
            if isinstance(answer, Exception):
                raise answer
        return reply, synced if isinstance(synced, list) else [synced]

    def _load(self, name: str) -> None:
        try:
            self._client.script_load(script(name, self._with_flags).text)
        except redis.ResponseError as error:
            if not self._with_flags or "compiling" not in str(error):
                raise
            # Redis 6.2 takes a script's flags for a mistake in it.
            self._with_flags = False
            self._client.script_load(script(name, self._with_flags).text)


@cache
def script(name: str, with_flags: bool = True) -> Script:
    """Return a script of ``jobs/lua`` behind what all of them share."""
    folder = files("jobs") / "lua"
    body = (folder / f"{name}.lua").read_text()
    if name in _ONCE:
        body = f"return once(function()\n{body}end)\n"
    text = (folder / "shared.lua").read_text() + body
    if with_flags:
        text = f"#!lua{' flags=allow-oom' if name in _RELIEVING else ''}\n{text}"
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
