"""Figures of the last hour, minute by minute: what was accepted and ended, and how long it took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import redis

from jobs.records import decoded
from jobs.scripts import PREFIX
from jobs.store import server_time, told_plainly

MINUTES = 60
_MINUTE_MS = 60_000
_PER_OCTAVE = 4
"""Buckets in which a duration doubles; shared.lua counts in them."""


@dataclass(frozen=True)
class Durations:
    """How often something took how long, in buckets that are 19 % wide."""

    buckets: Mapping[int, int] = field(default_factory=dict)

    def quantile(self, share: float) -> float | None:
        """Return the milliseconds that a share of all took at most, to some 9 %; None without any.

        Within a bucket they are taken to be spread evenly over its logarithm.
        """
        left = share * sum(self.buckets.values())
        for bucket, count in sorted(self.buckets.items()):
            if left <= count:
                return float(2 ** ((bucket + left / count) / _PER_OCTAVE))
            left -= count
        return None

    @classmethod
    def together(cls, some: Sequence[Durations]) -> Durations:
        """Return all durations of several counts."""
        total: Counter[int] = Counter()
        for each in some:
            total.update(each.buckets)
        return cls(total)


@dataclass(frozen=True)
class Minute:
    """What happened in the minute from ``at`` on, in milliseconds since the epoch.

    ``accepted``, ``succeeded``, ``failed`` and ``canceled`` count jobs; ``waiting`` has how long
    those that were claimed first had waited, ``whole`` how long those that succeeded took in all.
    """

    at: int
    accepted: int
    succeeded: int
    failed: int
    canceled: int
    waiting: Durations
    whole: Durations

    @property
    def ended(self) -> int:
        """Jobs that ended, however they did."""
        return self.succeeded + self.failed + self.canceled

    @classmethod
    def from_record(cls, at: int, fields: Mapping[str, str]) -> Minute:
        """Read what the ledger counted in a minute."""

        def durations(name: str) -> Durations:
            found = {n: int(count) for n, count in fields.items() if n.startswith(f"{name}:")}
            return Durations({int(n.partition(":")[2]): count for n, count in found.items()})

        counts = {n: int(fields.get(n, 0)) for n in ("accepted", "succeeded", "failed", "canceled")}
        return cls(at=at, **counts, waiting=durations("wait"), whole=durations("whole"))


class Figures:
    """Reads the figures, which are the same few keys however much is done and queued.

    ``clock`` returns milliseconds since the epoch; without one the store's own counts.
    """

    def __init__(self, client: redis.Redis, clock: Callable[[], int] | None = None) -> None:
        self._client = client
        self._clock = clock or (lambda: server_time(client))

    def now(self) -> int:
        """Return the time by which the figures go; raises StoreUnavailable."""
        with told_plainly():
            return self._clock()

    def last_hour(self) -> list[Minute]:
        """Return the last 60 minutes, oldest first; the last one is not over yet.

        Raises StoreUnavailable.
        """
        with told_plainly(), self._client.pipeline(transaction=False) as pipe:
            newest = self._clock() // _MINUTE_MS
            numbers = range(newest - MINUTES + 1, newest + 1)
            for number in numbers:
                pipe.hgetall(f"{PREFIX}minute:{number}")
            return [
                Minute.from_record(number * _MINUTE_MS, decoded(found))
                for number, found in zip(numbers, pipe.execute(), strict=True)
            ]
