"""What the page of operations shows at one moment; every look costs the same, whatever waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from api.admin.workers import Member, fleet
from api.console.i18n import Language
from api.console.operations.charts import Chart, jobs_chart, times_chart
from api.services import services
from jobs.failures import Failure
from jobs.figures import Durations, Minute
from jobs.intake import Pauses
from jobs.job import Reason
from jobs.receiver_health import Health
from jobs.signals import Reading

MOST_TENANTS = 10
MOST_FAILURES = 10
_CLASSES = ("high", "normal", "low", "suspect")


@dataclass(frozen=True)
class Failed:
    """Jobs that failed for a reason: how many, and the newest."""

    reason: Reason
    count: int
    newest: Sequence[Failure]


@dataclass(frozen=True)
class Overview:
    """All that the page shows; ``tenants`` are those with most jobs waiting, most first.

    ``at`` is when it was looked at, in milliseconds since the epoch.
    """

    at: int
    reading: Reading
    pauses: Pauses
    members: Sequence[Member]
    minutes: Sequence[Minute]
    charts: Sequence[Chart]
    tenants: Mapping[str, int]
    failed: Sequence[Failed]
    health: Health
    promises_disk: bool
    version: str
    classes: Sequence[str] = _CLASSES

    @property
    def queued(self) -> int:
        """Jobs that wait for a worker."""
        return sum(sum(model.queued.values()) for model in self.reading.models.values())

    @property
    def oldest_ms(self) -> float | None:
        """How long the one of them that waits longest has waited."""
        ages = [m.oldest_queued_age_s for m in self.reading.models.values()]
        return max((1000 * age for age in ages if age is not None), default=None)

    @property
    def ready(self) -> Sequence[Member]:
        """Workers that take jobs."""
        return [member for member in self.members if member.takes_jobs]

    @property
    def slots(self) -> int:
        """Slots of workers that take jobs."""
        return sum(member.worker.slots for member in self.ready)

    @property
    def slots_used(self) -> int:
        """Jobs in the hands of workers that are heard of."""
        return sum(one.worker.slots_used for one in self.members if not one.is_silent)

    @property
    def rate(self) -> str:
        """Jobs that ended in the last minute that is over, by the second where they are many."""
        ended = self.minutes[-2].ended
        return f"{ended / 60:,.1f}/s" if ended >= 60 else f"{ended}/min"

    @property
    def waiting(self) -> Durations:
        """How long jobs waited in the last hour."""
        return Durations.together([minute.waiting for minute in self.minutes])

    @property
    def whole(self) -> Durations:
        """How long jobs took in all in the last hour."""
        return Durations.together([minute.whole for minute in self.minutes])

    @property
    def failures(self) -> int:
        """Jobs that failed and were not asked again."""
        return sum(one.count for one in self.failed)

    @property
    def busy_minutes(self) -> Sequence[Minute]:
        """Minutes in which anything happened, newest first."""
        return [m for m in reversed(self.minutes) if m.accepted or m.ended or m.waiting.buckets]

    @property
    def memory_percent(self) -> int | None:
        """How full the store is; None where it has no limit."""
        store = self.reading.store
        limit = store.memory_limit_bytes
        return round(100 * store.memory_bytes / limit) if limit else None


def overview(t: Language) -> Overview:
    """Look at everything, in a visitor's language; raises StoreUnavailable."""
    parts = services()
    operations = parts.operations
    minutes = operations.figures.last_hour()
    tenants = list(parts.tenants.waiting().items())[:MOST_TENANTS]
    counts = operations.failures.counts()
    return Overview(
        at=operations.figures.now(),
        reading=parts.signals.read(),
        pauses=operations.intake.pauses(),
        members=fleet(),
        minutes=minutes,
        charts=(
            jobs_chart(minutes, t),
            times_chart("waiting", minutes, lambda minute: minute.waiting, t),
            times_chart("whole", minutes, lambda minute: minute.whole, t),
        ),
        tenants=dict(tenants),
        failed=[
            Failed(reason, count, operations.failures.newest(reason, MOST_FAILURES))
            for reason, count in counts.items()
            if count
        ],
        health=operations.receivers.look(),
        promises_disk=parts.settings.durability == "disk",
        version=version("llava-jobs"),
    )
