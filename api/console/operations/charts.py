"""Charts of the last hour: a column for each minute, as numbers that a template draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from api.console.formatting import span
from api.console.i18n import Language
from jobs.figures import Durations, Minute

WIDTH, HEIGHT = 600, 120
_COUNTS = tuple(step * 10**power for power in range(9) for step in (2, 4, 10))
_TIMES_MS = (
    *(10, 20, 50, 100, 200, 500, 1_000, 2_000, 4_000, 10_000, 20_000, 40_000, 60_000, 120_000),
    *(240_000, 600_000, 1_200_000, 3_600_000, 7_200_000, 14_400_000, 43_200_000, 86_400_000),
    *(172_800_000, 864_000_000),
)
"""What the top of a chart may be: half of it is a round number, too."""


@dataclass(frozen=True)
class Bar:
    """A piece of a column; ``part`` names what it is of."""

    part: str
    y: float
    height: float


@dataclass(frozen=True)
class Column:
    """A minute: where it begins, what it says, and its pieces."""

    x: float
    told: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Chart:
    """A chart: its texts' ``kind``, its ``parts``, what its top and middle stand for, a summary."""

    kind: str
    parts: tuple[str, ...]
    columns: tuple[Column, ...]
    top: str
    middle: str
    summary: str


def jobs_chart(minutes: Sequence[Minute], t: Language) -> Chart:
    """Return how many jobs ended in each minute, and how."""
    parts = ("succeeded", "failed", "canceled")
    top = _top(max(minute.ended for minute in minutes), _COUNTS)

    def column(number: int, minute: Minute) -> Column:
        bars, y = [], float(HEIGHT)
        for part in parts:
            height = HEIGHT * getattr(minute, part) / top
            y -= height
            bars.append(Bar(part, y, height))
        counts = {part: getattr(minute, part) for part in ("accepted", *parts)}
        told = t("console.chart.jobs.minute", at=hour(minute.at), **counts)
        return _column(number, told, bars)

    totals = {p: sum(getattr(m, p) for m in minutes) for p in ("accepted", *parts)}
    return Chart(
        "jobs",
        parts,
        tuple(column(number, minute) for number, minute in enumerate(minutes)),
        str(top),
        str(top // 2),
        t("console.chart.jobs.summary", **totals),
    )


def times_chart(
    kind: str, minutes: Sequence[Minute], of: Callable[[Minute], Durations], t: Language
) -> Chart:
    """Return how long something took in each minute: half of it, and all but the slowest 5 %."""
    found = [(of(minute).quantile(0.5), of(minute).quantile(0.95)) for minute in minutes]
    top = _top(max((slow for _, slow in found if slow), default=0), _TIMES_MS)

    def column(number: int, minute: Minute) -> Column:
        half, slow = found[number]
        if half is None or slow is None:
            return _column(number, t("console.chart.nothing", at=hour(minute.at)), [])
        heights = {"p95": HEIGHT * slow / top, "p50": HEIGHT * half / top}
        bars = [Bar(part, HEIGHT - height, height) for part, height in heights.items()]
        told = t("console.chart.times.minute", at=hour(minute.at), p50=span(half), p95=span(slow))
        return _column(number, told, bars)

    together = Durations.together([of(minute) for minute in minutes])
    return Chart(
        kind,
        ("p50", "p95"),
        tuple(column(number, minute) for number, minute in enumerate(minutes)),
        span(top),
        span(top / 2),
        t(f"console.chart.{kind}.summary", p50=took(together, 0.5), p95=took(together, 0.95)),
    )


def took(durations: Durations, share: float) -> str:
    """Return a quantile as people read it, or a dash where there is none."""
    found = durations.quantile(share)
    return "–" if found is None else span(found)


def hour(epoch_ms: int) -> str:
    """Return a time of day as `19:04`, in UTC."""
    return f"{datetime.fromtimestamp(epoch_ms / 1000, UTC):%H:%M}"


def _column(number: int, told: str, bars: Sequence[Bar]) -> Column:
    return Column(
        number * 10,
        told,
        tuple(Bar(b.part, round(b.y, 2), round(b.height, 2)) for b in bars if b.height > 0),
    )


def _top(most: float, steps: Sequence[int]) -> int:
    return next((step for step in steps if step >= most), steps[-1])
