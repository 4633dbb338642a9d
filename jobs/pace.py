"""How soon a queued job will be answered, from what its model's workers really did."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import fmean, pstdev

import redis

from jobs.job import Priority
from jobs.ledger import Ledger
from jobs.scripts import PREFIX
from jobs.store import told_plainly

KEPT_S = 1.0
"""How long a pace is taken to be the same; every poll of a queued job asks for it."""
WEIGHTS = {Priority.HIGH: 8, Priority.NORMAL: 3, Priority.LOW: 1}
"""How claims are shared between the classes that wait; claim.lua does it."""
_P90 = 1.2816
"""Standard deviations from the median of a normal distribution to its 90th percentile."""


@dataclass(frozen=True)
class Forecast:
    """Milliseconds from now until a job starts, and until it has ended with 50 and 90 % odds."""

    start: float
    finish_p50: float
    finish_p90: float


@dataclass(frozen=True)
class Pace:
    """What the workers of a model did last.

    ``durations`` are the milliseconds that its last answers took, in ascending order and at least
    one; ``slots`` how many are answered at the same time, of which ``free`` do nothing; ``queued``
    how many wait, by class.
    """

    durations: tuple[int, ...]
    slots: int
    free: int
    queued: Mapping[str, int] = field(default_factory=dict)

    def forecast(self, position: int, priority: Priority = Priority.NORMAL) -> Forecast:
        """Say when the job at a place in its class, from 1 on, will be answered.

        Before it starts, as many jobs must end as are claimed before it and find no free slot.
        They end evenly, ``slots`` in the mean time of one; their sum spreads with the square root
        of their number (the central limit theorem).
        """
        before = max(0, position + self._of_other_classes(position, priority) - self.free)
        start = before * fmean(self.durations) / self.slots
        spread = _P90 * math.sqrt(before) * pstdev(self.durations) / self.slots
        return Forecast(start, start + self._quantile(0.5), start + spread + self._quantile(0.9))

    def _of_other_classes(self, position: int, priority: Priority) -> int:
        """How many jobs of other classes are claimed meanwhile, as the weights have it."""
        own = WEIGHTS[priority]
        return sum(
            min(self.queued.get(other, 0), math.ceil(position * weight / own))
            for other, weight in WEIGHTS.items()
            if other is not priority
        )

    def _quantile(self, share: float) -> int:
        return self.durations[min(int(share * len(self.durations)), len(self.durations) - 1)]


class Paces:
    """The pace of each model; safe to share among threads.

    ``clock`` returns seconds that only ever grow.
    """

    def __init__(
        self, client: redis.Redis, ledger: Ledger, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, Pace | None]] = {}

    def of(self, model: str) -> Pace | None:
        """Return a model's pace; None where it has no worker now, or has answered nothing yet.

        Raises StoreUnavailable.
        """
        with self._lock:
            seen_at, pace = self._seen.get(model, (-math.inf, None))
        if self._clock() - seen_at >= KEPT_S:
            pace = self._look(model)
            with self._lock:
                self._seen[model] = (self._clock(), pace)
        return pace

    def _look(self, model: str) -> Pace | None:
        with told_plainly():
            told = self._client.lrange(f"{PREFIX}pace:{model}", 0, -1)
        told_of = self._ledger.workers(model).values()
        workers = [facts for facts in told_of if not facts.get("drained")]
        slots = sum(int(facts.get("slots", 0)) for facts in workers)
        busy = sum(int(facts.get("running", 0)) + int(facts.get("waiting", 0)) for facts in workers)
        if not told or not slots:
            return None
        queued = self._ledger.queued(model)
        return Pace(tuple(sorted(map(int, told))), slots, max(0, slots - busy), queued)
