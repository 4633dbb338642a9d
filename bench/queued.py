"""What the ledger's operations cost, from a thousand to a million queued jobs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count, cycle, islice
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import redis
from tqdm import tqdm

from jobs.job import Claim, Draft, Job, Outcome, Status
from jobs.ledger import Ledger, Limits
from jobs.request import Conversation, Turn
from jobs.store import connect
from llava_jobs.embedded import EmbeddedStore

MODEL = "bench"
TENANTS = 1000
CONNECTIONS = 16
_SWEEPS = 20
_BULK = 500
ANSWER = Outcome(
    Status.SUCCEEDED,
    answer={"text": "The error code is E42.", "finish_reason": "stop"},
    usage={"prompt_tokens": 2400, "cached_tokens": 0, "completion_tokens": 8},
    timing={"queue_ms": 100, "preprocess_ms": 10.0, "vision_ms": 20.0, "generate_ms": 300.0},
)
_LIMITS = Limits(tenant_queue=10**7, queue=10**8)


@dataclass(frozen=True)
class Times:
    """The seconds that each call of an operation took, one call after another."""

    seconds: Sequence[float]

    @property
    def per_second(self) -> float:
        """Calls a second, as the median call would have it."""
        return 1 / median(self.seconds)

    def data(self) -> dict[str, float]:
        """Return median and 95th percentile in microseconds."""
        return {
            "per_s": self.per_second,
            "p50_us": 1e6 * median(self.seconds),
            "p95_us": 1e6 * quantiles(self.seconds, n=20, method="inclusive")[-1],
        }


@dataclass(frozen=True)
class Level:
    """What was measured with so many jobs queued; `bytes_per_job` is the store's memory."""

    queued: int
    times: Mapping[str, Times]
    parallel_submits: float
    bytes_per_job: float


ON_DISK = ", on disk"
_WRITE, _READ, _SCRIPT = "floor: smallest write", "floor: GET", "floor: smallest script"
FLOOR_OF = {
    **{
        f"{operation}{ON_DISK}": f"{_WRITE}{ON_DISK}" for operation in ("submit", "claim", "finish")
    },
    **dict.fromkeys(("submit", "claim", "finish"), _WRITE),
    **dict.fromkeys(("poll", "position"), _READ),
    "sweep": _SCRIPT,
}
"""Operations, and what the store itself takes for the least of their kind. Those on disk are as in
an installation; for the others the store syncs nothing, so that its own work shows."""


class InBulk:
    """Stands in for a client of the store, and sends what the ledger sends in bulk.

    The ledger reads a reply to each call; it gets `reply`, which is that of any job that was
    accepted. The store's own replies are not made, since reading them takes longest.
    """

    def __init__(self, client: redis.Redis, reply: Any) -> None:
        self._pool = client.connection_pool
        self._connection = self._pool.get_connection()
        self._pending: list[tuple[Any, ...]] = []
        self._reply = reply

    def evalsha(self, digest: str, keys: int, *arguments: Any) -> Any:
        """Put a script's call with those to be sent."""
        self._pending.append(("EVALSHA", digest, keys, *arguments))
        if len(self._pending) >= _BULK:
            self._send()
        return self._reply

    def close(self) -> None:
        """Send what is left."""
        self._send()
        self._pool.release(self._connection)

    def _send(self) -> None:
        silent, loud = (("CLIENT", "REPLY", word) for word in ("OFF", "ON"))
        packed = self._connection.pack_commands([silent, *self._pending, loud])
        self._connection.send_packed_command(packed)
        self._connection.read_response()  # to the last, once all before it are done
        self._pending.clear()


class Bench:
    """A store with a ledger on it, and jobs of many tenants."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._ledger = Ledger(client, _LIMITS)
        self._in_memory = Ledger(client, _LIMITS, durability="memory")
        self._drafts = drafts()
        self._empty_bytes = self._used_bytes()
        self._queued = 0

    def fill(self, queued: int, progress: Callable[[int], object]) -> None:
        """Have so many jobs queued."""
        with self._unsynced():
            self._in_memory.submit(next(self._drafts))  # which brings the script
            bulk = InBulk(self._client, canned_reply())
            ledger = Ledger(bulk, _LIMITS, durability="memory")
            for draft in islice(self._drafts, queued - self._queued - 1):
                ledger.submit(draft)
                progress(1)
            bulk.close()
        self._queued = sum(self._ledger.queued(MODEL).values())
        if self._queued != queued:
            raise RuntimeError(f"{self._queued} jobs are queued where {queued} were submitted")
        self._await_rewrite()

    def measure(self, repeats: int) -> Level:
        """Measure every operation at the present depth, which stays as it is."""
        memory = self._used_bytes() - self._empty_bytes
        submits = self._parallel(repeats)
        times = {f"{name}{ON_DISK}": found for name, found in self._life(self._ledger, repeats)}
        with self._unsynced():
            times |= dict(self._life(self._in_memory, repeats))
            least = self._client.script_load("return 0")
            times[_SCRIPT] = timed(lambda _: self._client.evalsha(least, 0), range(repeats))
            times[_READ] = timed(lambda _: self._client.get("floor"), range(repeats))
        kept = {*FLOOR_OF, *FLOOR_OF.values()}
        times = {name: found for name, found in times.items() if name in kept}
        return Level(self._queued, times, submits, memory / self._queued)

    def _life(self, ledger: Ledger, repeats: int) -> Iterator[tuple[str, Times]]:
        """Each operation in turn, and as many claims as submits."""
        submitted: list[Job] = []
        claims: list[Claim] = []
        yield _WRITE, self._smallest_write(ledger, repeats)
        spare = list(islice(self._drafts, repeats))
        yield "submit", timed(lambda draft: submitted.append(ledger.submit(draft)[0]), spare)
        # A job that was just accepted knows its own.
        polled = [replace(job, position=None) for job in submitted]
        yield "position", timed(ledger.position, polled)
        yield "poll", timed(lambda job: ledger.get(job.tenant, job.id), submitted)
        yield "claim", timed(lambda _: claims.append(_claim(ledger)), range(repeats))
        yield "finish", timed(lambda claim: ledger.finish(claim, ANSWER), claims)
        yield "sweep", timed(lambda _: ledger.sweep(), range(_SWEEPS))

    def _smallest_write(self, ledger: Ledger, repeats: int) -> Times:
        client = self._client
        script = client.script_load("return redis.call('SET', KEYS[1], '')")

        def synced(_: int) -> None:
            with client.pipeline(transaction=False) as pipe:
                pipe.evalsha(script, 1, "floor")
                pipe.execute_command("WAITAOF", 1, 0, 1000)
                pipe.execute()

        if ledger is self._ledger:
            return timed(synced, range(repeats))
        return timed(lambda _: client.evalsha(script, 1, "floor"), range(repeats))

    def _parallel(self, repeats: int) -> float:
        """Submits a second, on disk, over many connections, which share syncs."""
        spare = list(islice(self._drafts, repeats))
        started = time.perf_counter()
        with ThreadPoolExecutor(CONNECTIONS) as callers:
            list(callers.map(self._ledger.submit, spare))
        seconds = time.perf_counter() - started
        with self._unsynced():
            for _ in spare:
                self._in_memory.finish(_claim(self._in_memory), ANSWER)
        return len(spare) / seconds

    @contextmanager
    def _unsynced(self) -> Iterator[None]:
        """Have the store leave syncing to the operating system meanwhile."""
        self._client.config_set("appendfsync", "no")
        try:
            yield
        finally:
            self._client.config_set("appendfsync", "always")

    def _used_bytes(self) -> int:
        return int(self._client.info("memory")["used_memory"])

    def _await_rewrite(self) -> None:
        """The server compacts its log in the background, which costs it time that we would see."""
        while self._client.info("persistence")["aof_rewrite_in_progress"]:
            time.sleep(0.2)


def measure(most: int, repeats: int) -> list[Level]:
    """Measure an embedded store at 1,000 queued jobs and each ten times as many up to `most`."""
    depths = [10**n for n in range(3, 10) if 10**n <= most] or [most]
    with (
        tempfile.TemporaryDirectory(prefix="bench-queue-") as folder,
        EmbeddedStore(Path(folder)) as store,
        tqdm(total=depths[-1], unit="job", leave=False) as bar,
    ):
        client = connect(store.url)
        bench = Bench(client)
        levels = []
        for depth in depths:
            bar.set_description(f"queueing {depth:,}")
            bench.fill(depth, bar.update)
            bar.set_description(f"measuring {depth:,}")
            levels.append(bench.measure(repeats))
        client.close()
    return levels


def _claim(ledger: Ledger) -> Claim:
    claim = ledger.claim(MODEL, "bench")
    if claim is None:
        raise RuntimeError("the ledger gave no job although jobs are queued")
    return claim


def timed(call: Callable[[Any], object], arguments: Iterable[Any]) -> Times:
    """Call with each argument and return the time of every call."""
    seconds = []
    for argument in arguments:
        began = time.perf_counter()
        call(argument)
        seconds.append(time.perf_counter() - began)
    return Times(seconds)


def drafts() -> Iterator[Draft]:
    """Jobs to submit, of TENANTS tenants in turn; ids in order, since random ones take time."""
    numbers = count()
    asked = Conversation((Turn("user", ("What is the error code on the display?",)),))
    for tenant in cycle(f"tenant-{n}" for n in range(TENANTS)):
        # Unshared: jobs that ask the same would follow one another, and not queue.
        yield Draft(tenant, MODEL, asked, id=f"job_{next(numbers):032x}", cache=False)


def canned_reply() -> list[Any]:
    """The reply to a submit, as far as the ledger reads it."""
    record = {
        "request": next(drafts()).request_json(),
        **dict.fromkeys(("created", "due", "v"), "1"),
        "id": "job",
        "tenant": "",
        "model": MODEL,
        "status": "queued",
        "class": "normal",
    }
    flat = [item.encode() for pair in record.items() for item in pair]
    return [b"accepted", flat]
