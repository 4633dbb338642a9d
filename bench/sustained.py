"""Whether upkeep keeps up: all that happens to a job, at a steady rate, over many retentions."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import redis
from tqdm import tqdm

from bench.queued import ANSWER, MODEL, canned_reply, drafts
from jobs.hints import Hints, celery_app
from jobs.job import Claim, Draft
from jobs.ledger import Ledger, Limits
from jobs.records import record
from jobs.scripts import PREFIX, script
from jobs.store import connect
from jobs.sweeper import Sweeper
from jobs.webhook import Webhook
from llava_jobs.embedded import EmbeddedStore

RATE = 1_500
"""Jobs a second that are submitted, claimed, finished and forgotten."""
FASTER = 600
"""How much faster the bench's clock goes, so that a retention of an hour passes in 6 seconds."""
HOUR_MS = 3_600_000
RETENTION_S = HOUR_MS / FASTER / 1000
RETENTIONS = 12
DEADLINE_MS = HOUR_MS // 6
_AT_ONCE_S = 0.05
_BULK = 75
_IDLE_MODEL = "idle"
_DEAD = Webhook("https://dead.test/", "dead.test")
_LIMITS = Limits(retention=HOUR_MS, lease=10**12, tenant_queue=10**7, queue=10**8)


@dataclass(frozen=True)
class Sample:
    """What was seen at a moment; late is by how long what is most overdue is so, in seconds."""

    second: float
    ended: int
    kept: int
    late_retention: float
    late_deadline: float
    late_webhook: float


@dataclass(frozen=True)
class Sustained:
    """A steady load and how upkeep kept up; ``store_cores``: the store's processor time."""

    wanted: int
    seconds: float
    ended_per_s: float
    forgotten: int
    store_cores: float
    samples: list[Sample]

    def worst(self, kind: str) -> float:
        """Return the most that retention, deadline or webhook was late, in seconds."""
        return max(float(getattr(sample, f"late_{kind}")) for sample in self.samples)


def clock() -> int:
    """Milliseconds since the epoch as the bench's jobs see them."""
    return round(time.time() * 1000 * FASTER) % 10**14


class Gathered:
    """Stands in for a client of the store: gathers calls of scripts, to send them together."""

    def __init__(self, reply: Any) -> None:
        self._reply = reply
        self.calls: list[tuple[Any, ...]] = []

    def evalsha(self, *arguments: Any) -> Any:
        """Put a call with the others."""
        self.calls.append(arguments)
        return self._reply

    def send(self, client: redis.Redis, *, synced: bool = False) -> list[Any]:
        """Send what was gathered and return the replies; ``synced``: once it is on disk."""
        with client.pipeline(transaction=False) as pipe:
            for arguments in self.calls:
                pipe.evalsha(*arguments)
            if synced:
                pipe.execute_command("WAITAOF", 1, 0, 10_000)
            replies: list[Any] = pipe.execute()
        self.calls = []
        return replies


def load(url: str, rate: int, seconds: float) -> None:
    """Submit, claim and finish so many jobs a second; of a hundred three miss their deadline."""
    client = connect(url)
    for name in ("submit", "claim", "finish"):
        client.script_load(script(name).text)
    submits, claims, finishes = Gathered(canned_reply()), Gathered([]), Gathered(1)
    submitting, claiming, finishing = (
        Ledger(gathered, _LIMITS, durability="memory", clock=clock)
        for gathered in (submits, claims, finishes)
    )
    jobs = _mixed(drafts())
    started, sent = time.monotonic(), 0
    while (passed := time.monotonic() - started) < seconds:
        due = round(min(passed + _AT_ONCE_S, seconds) * rate) - sent
        if due <= 0:
            time.sleep(_AT_ONCE_S / 4)
            continue
        for draft in islice(jobs, min(due, _BULK)):
            submitting.submit(draft)
            claiming.claim(MODEL, "bench")
            sent += 1
        submits.send(client, synced=True)
        for flat in claims.send(client):
            if flat:
                finishing.finish(Claim.from_record(record(flat)), ANSWER)
        finishes.send(client, synced=True)
    client.close()


def _mixed(plain: Iterator[Draft]) -> Iterator[Draft]:
    for number, draft in enumerate(plain):
        if number % 33 == 0:
            yield replace(draft, model=_IDLE_MODEL, deadline_ms=DEADLINE_MS)
        elif number % 33 == 1:
            yield replace(draft, webhook=_DEAD)
        else:
            yield draft


def measure(rate: int = RATE, retentions: int = RETENTIONS) -> Sustained:
    """Keep a load up for so many retentions and watch what is late."""
    seconds = retentions * RETENTION_S
    with (
        tempfile.TemporaryDirectory(prefix="bench-sustained-") as folder,
        EmbeddedStore(Path(folder)) as store,
        closing(connect(store.url)) as client,
        closing(Hints(celery_app(store.url), client)) as hints,
        tqdm(total=round(seconds), unit="s", leave=False, desc=f"{rate:,} jobs/s") as bar,
    ):
        ledger = Ledger(client, _LIMITS, clock=clock)
        sweeper = Sweeper(ledger, hints, interval_ms=1_000, spare_after_ms=0)
        sweeper.start()
        loading = multiprocessing.get_context("spawn").Process(
            target=load, args=(store.url, rate, seconds)
        )
        cpu, started = _cpu(client), time.monotonic()
        loading.start()
        samples: list[Sample] = []
        while loading.is_alive():
            loading.join(1.0)
            samples.append(_look(client, time.monotonic() - started))
            bar.update(1)
        passed = time.monotonic() - started
        cores = (_cpu(client) - cpu) / passed
        sweeper.close()
        if loading.exitcode:
            raise RuntimeError("the load broke off; what it said is above")
    last = samples[-1]
    return Sustained(rate, passed, last.ended / passed, last.ended - last.kept, cores, samples)


def _look(client: redis.Redis, second: float) -> Sample:
    now = clock()
    with client.pipeline(transaction=False) as pipe:
        pipe.hvals(f"{PREFIX}ended")
        pipe.zcard(f"{PREFIX}retained")
        pipe.zrange(f"{PREFIX}retained", 0, 0, withscores=True)
        pipe.zrange(f"{PREFIX}due", 0, 0, withscores=True)
        pipe.zrange(f"{PREFIX}deliveries:{_DEAD.host}", 0, 0, withscores=True)
        ended, kept, retained, due, told = pipe.execute()
    # A receiver is tried for three retentions from the end of its job.
    return Sample(
        second,
        sum(map(int, ended)),
        kept,
        _late(retained, now),
        _late(due, now),
        _late(told, now - 3 * HOUR_MS),
    )


def _late(first: list[tuple[bytes, float]], now: int) -> float:
    """Return for how many seconds what comes first has been due."""
    return max(0.0, (now - first[0][1]) / FASTER / 1000) if first else 0.0


def _cpu(client: redis.Redis) -> float:
    told = client.info("cpu")
    return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])
