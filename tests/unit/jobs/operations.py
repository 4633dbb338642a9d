"""Each change of the ledger's state, what is there before it, and what a store holds after."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis

from jobs.batch import BatchLine
from jobs.job import Draft, Job, Outcome, Reason, Status
from jobs.ledger import Ledger, Limits
from jobs.request import Conversation, Turn
from jobs.scripts import PREFIX, Durability
from tests.ledgers import ANSWER, FAILURE, MODEL, Clock, claimed, draft, webhook

LIMITS = Limits(lease=30_000, retention=60_000)
Prepare = Callable[["Scripted", Clock], Any]


class Scripted(Ledger):
    """A ledger, and by ``script`` any of the scripts on the same store."""

    def __init__(
        self,
        client: redis.Redis,
        durability: Durability = "waitaof",
        *,
        clock: Callable[[], int],
    ) -> None:
        super().__init__(client, LIMITS, durability=durability, clock=clock)
        self.client = client

    def script(self, name: str, *arguments: str | int) -> Any:
        """Run a script, durably."""
        return self.scripts.run(name, *arguments, durable=True)


@dataclass(frozen=True)
class Operation:
    """One call of the ledger: what is there before it, and whether its caller may call again."""

    name: str
    prepare: Prepare
    run: Callable[[Scripted, Any], Any]
    settles: bool = True

    @property
    def script(self) -> str:
        """The script that does it."""
        word = self.name.split()[0]
        return {
            "hand": "release",
            "retry": "release",
            "supersede": "submit",
            "go": "supersede",
        }.get(word, word)

    def __str__(self) -> str:
        return self.name


NO_STATE = {
    *("shared", "list", "spend", "say", "listen", "count", "signals"),
    *("ended_lines", "take_batch", "rest_batch", "hint", "retire", "leave"),
    *("index_keys", "tenants"),
}
"""Scripts that change nothing of which anybody was promised that it stays."""


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


def _superseding(to: Scripted, _: Clock) -> Job:
    """A job that is to withdraw one that waits and one that runs."""
    queued(to, 1, group="g")
    claimed(to)
    queued(to, 2, group="g")
    job = queued(to, 3, group="g")
    to.client.hset(f"{PREFIX}job:{job.id}", "superseding", "3 9")
    return job


IMAGE = ("acme", "d" * 64, "pixels", 60_000, 10_000)
UPLOAD = ("acme", "img_1", "d" * 64, 16, 16, 60_000, 10_000)
ROTATED = ("k1", "digest", "abcd", 2_000_000_000)
FENCE = 2
"""Of the second thing that is given to anybody."""


def _picture(to: Scripted) -> None:
    to.script("put_image", *IMAGE)


def _uploaded(to: Scripted) -> None:
    _picture(to)
    to.script("upload", *UPLOAD)


def _key(to: Scripted) -> None:
    to.client.hset(f"{PREFIX}key:k1", mapping={"tenant": "acme", "digest": "0", "ending": "wxyz"})


def _failed(to: Scripted, _: Clock) -> str:
    queued(to)
    claim = claimed(to)
    to.finish(claim, Outcome(Status.FAILED, Reason.ERROR, error=FAILURE))
    return claim.job.id


FILE = ("acme", "file_1", "batch", "lines.jsonl", 9, 1, 60_000, 100)
BATCH = (
    *("acme", "batch_1", "file_1", "file_2", "file_3", "/v1/chat/completions", "24h", 60_000),
    *("{}", 60_000, 9),
)


def _part(to: Scripted) -> None:
    to.client.set(f"{PREFIX}file:acme:file_1:0", b"{}\n{}\n{}\n", px=60_000)


def _file(to: Scripted) -> None:
    _part(to)
    to.script("keep_file", *FILE)


def _batch(to: Scripted) -> None:
    _file(to)
    to.script("begin_batch", *BATCH)


def _running(to: Scripted) -> None:
    _batch(to)
    to.script("move_batch", "batch_1", "valid", 2, "")


def _line(to: Scripted, number: int = 1) -> Job:
    line = BatchLine("batch_1", number, f"n{number}", number - 1, 3 * number)
    return to.submit(numbered(number, f"What is {number}?", group="batch_1", batch=line))[0]


def _out(to: Scripted, _: Clock) -> Job:
    """The answered job of a batch's first line; that of the second waits."""
    _running(to)
    job = _line(to)
    to.finish(claimed(to), ANSWER)
    _line(to, 2)
    return job


def _write(to: Scripted, job: Job) -> Any:
    lines = (job.id, "output", "{}\n", "", "errors", "{}\n")
    return to.script("write_lines", "batch_1", 2, 3, 9, 10, *lines)


def _whole(to: Scripted, clock: Clock) -> None:
    job = _out(to, clock)
    to.finish(claimed(to), ANSWER)
    for other in (job.id, f"job_{2:032x}"):
        to.script("write_lines", "batch_1", "", "", "", 2, other, "output", "{}\n")
    to.script("move_batch", "batch_1", "settled", 0, "")


def _ended(to: Scripted, clock: Clock) -> None:
    """A batch with a line in its output file."""
    _whole(to, clock)
    to.script("move_batch", "batch_1", "settled", 0, "")


def _told(to: Scripted, _: Clock) -> str:
    job = queued(to, 1, webhook=webhook())
    to.finish(claimed(to), ANSWER)
    return job.id


def _heard(to: Scripted, clock: Clock) -> str:
    job_id = _told(to, clock)
    _deliver(to)
    to.script("delivered", job_id, FENCE, 200, "", "delivered", 0, 9)
    return job_id


def _gone(to: Scripted, clock: Clock) -> str:
    job_id = _told(to, clock)
    _deliver(to)
    to.script("delivered", job_id, FENCE, 410, "", "gone", 0, 9)
    return hashlib.sha1(webhook().url.encode(), usedforsecurity=False).hexdigest()


def _deliver(to: Scripted) -> str:
    [record] = to.script("deliver", 30_000, 9, 4, 4)
    return str(record[record.index(b"id") + 1].decode())


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
    Operation("go on superseding", _superseding, lambda to, job: to.script("supersede", job.id)),
    Operation("claim", lambda to, _: queued(to), lambda to, _: to.claim(MODEL, "w1"), False),
    Operation("claim a suspect", suspected, lambda to, _: to.claim(MODEL, "w2"), False),
    Operation("finish", held, lambda to, claim: to.finish(claim, ANSWER)),
    Operation(
        "finish what is to be told",
        lambda to, _: (queued(to, 1, webhook=webhook()), claimed(to))[1],
        lambda to, claim: to.finish(claim, ANSWER),
    ),
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
    Operation("abandon", lambda to, _: queued(to), lambda to, job: to.abandon("acme", job.id)),
    Operation("erase", held, lambda to, claim: to.erase("acme", claim.job.id)),
    Operation("sweep", overdue, lambda to, _: to.sweep()),
    Operation("put_image", lambda *_: None, lambda to, _: to.script("put_image", *IMAGE)),
    Operation("upload", lambda to, _: _picture(to), lambda to, _: to.script("upload", *UPLOAD)),
    Operation(
        "discard",
        lambda to, _: _uploaded(to),
        lambda to, _: to.script("discard", "acme", "img_1"),
    ),
    Operation(
        "make_key",
        lambda *_: None,
        lambda to, _: to.script("make_key", "k1", "", "tenant", "acme", "digest", "0"),
    ),
    Operation("revoke_key", lambda to, _: _key(to), lambda to, _: to.script("revoke_key", "k1")),
    Operation("rotate", lambda to, _: _key(to), lambda to, _: to.script("rotate", *ROTATED), False),
    Operation(
        "set_limits",
        lambda *_: None,
        lambda to, _: to.script("set_limits", "acme", "queued_jobs", 7),
    ),
    Operation(
        "rotate_secret",
        lambda to, _: to.script("rotate_secret", "acme", "whsec_1", 1000, 1),
        lambda to, _: to.script("rotate_secret", "acme", "whsec_2", 1000, 0),
        False,
    ),
    Operation("intake", lambda *_: None, lambda to, _: to.script("intake", "acme", "pause")),
    Operation(
        "intake resumed",
        lambda to, _: to.script("intake", "acme", "pause"),
        lambda to, _: to.script("intake", "acme", "resume"),
    ),
    Operation(
        "drain",
        lambda to, _: to.renew("w1", MODEL, {}, {}),
        lambda to, _: to.script("drain", "w1", "finish"),
    ),
    Operation("retried", _failed, lambda to, job_id: to.script("retried", job_id, "acme", "job_2")),
    Operation("keep_file", lambda to, _: _part(to), lambda to, _: to.script("keep_file", *FILE)),
    Operation(
        "erase_file",
        lambda to, _: _file(to),
        lambda to, _: to.script("erase_file", "acme", "file_1"),
    ),
    Operation(
        "begin_batch", lambda to, _: _file(to), lambda to, _: to.script("begin_batch", *BATCH)
    ),
    Operation("submit a line of a batch", lambda to, _: _running(to), lambda to, _: _line(to)),
    Operation("write_lines", _out, _write),
    Operation(
        "stop_batch",
        _out,
        lambda to, _: to.script("stop_batch", "batch_1", "acme", "cancelled"),
    ),
    Operation(
        "move_batch",
        _whole,
        lambda to, _: to.script("move_batch", "batch_1", "settled", 0, ""),
    ),
    Operation(
        "move_batch that cannot be run",
        lambda to, _: _batch(to),
        lambda to, _: to.script("move_batch", "batch_1", "invalid", 0, "[]"),
    ),
    Operation("erase_batch", _ended, lambda to, _: to.script("erase_batch", "batch_1", "acme")),
    Operation("deliver", _told, lambda to, _: _deliver(to), False),
    Operation(
        "delivered",
        lambda to, clock: (_told(to, clock), _deliver(to))[1],
        lambda to, job_id: to.script("delivered", job_id, FENCE, 500, "", "retry", 1000, 9),
    ),
    Operation("enable", _gone, lambda to, digest: to.script("enable", "acme", digest)),
    Operation(
        "tell_again",
        _heard,
        lambda to, job_id: to.script("tell_again", job_id, "acme"),
    ),
]


_LEFT_OUT = ("call:", "durable", "forgotten:")
"""Keys by random names, of the wait for the disk, and ids that the store draws from its clock."""


def contents(client: Any) -> dict[str, Any]:
    """What the store holds, without what its clock, chance and no script of ours decides."""
    readers: dict[bytes, Callable[[bytes], Any]] = {
        b"string": client.get,
        b"hash": lambda key: {
            name: _parsed(name, value) for name, value in client.hgetall(key).items()
        },
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"stream": lambda key: [fields for _, fields in client.xrange(key)],
    }
    return {
        key.decode(): readers[client.type(key)](key)
        for key in client.scan_iter(count=1000)
        if not key.startswith(tuple(f"{PREFIX}{name}".encode() for name in _LEFT_OUT))
    }


def _parsed(name: bytes, value: bytes) -> Any:
    """What a field says; Lua writes the members of a JSON object in any order."""
    if name == b"events":
        return len(value.split())
    if name == b"fence":
        return value[:-9]  # without what chance put behind it
    return json.loads(value) if value[:1] in (b"{", b"[") else value
