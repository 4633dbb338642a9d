"""The table, the data and the chart of what callers cost the API."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median, quantiles

from matplotlib.figure import Figure

from bench.polling import WAIT_S, Told
from bench.results import Results, Table

HEAD = (
    *("", "connections", "requests", "a request, p50 / p95", "CPU ms a request"),
    *("CPU ms an ended job", "ends heard of", "heard after, p50 / p95", "failed requests"),
)


def results(command: str, seconds: float, rate: float, found: Sequence[Told]) -> Results:
    """Put the measurement's table, data and chart together."""
    note = (
        f"One API process without a worker; {rate:g} jobs a second end, for {seconds:g} s. `poll`: "
        "one connection a job, by ETag and after as long as Retry-After says; `wait`: the same "
        f"with Prefer: wait={WAIT_S}, which is granted to as many as there are threads for; "
        "`feed`: one connection that waits for GET /v1/events."
    )
    rows = [HEAD, *(row(told) for told in found)]
    data = {
        told.shape: {
            "connections": told.connections,
            "requests": len(told.seconds),
            "api_cpu_seconds": told.cpu,
            "jobs_ended": told.ended,
            "ends_heard": len(told.delays),
            "failures": told.failures,
        }
        for told in found
    }
    table = Table("Callers of one API process", rows, note)
    title = "Polling, waiting and the event feed"
    return Results("polls", title, command, [table], data, lambda: chart(found))


def chart(found: Sequence[Told]) -> Figure:
    """Draw what the API's processor does for an ended job, by shape."""
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.add_subplot()
    costs = [1000 * told.cpu / max(told.ended, 1) for told in found]
    bars = axes.barh([told.shape for told in found], costs, color="#2563eb")
    axes.bar_label(bars, [f"{cost:.1f} ms" for cost in costs], padding=4)
    axes.margins(x=0.2)
    axes.invert_yaxis()
    axes.set_title("Processor time of the API for each job that ended", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def row(told: Told) -> tuple[str, ...]:
    """Return the table's row of one shape."""
    return (
        told.shape,
        f"{told.connections:,}",
        f"{len(told.seconds):,}",
        _percentiles(told.seconds),
        f"{1000 * told.cpu / max(len(told.seconds), 1):.2f}",
        f"{1000 * told.cpu / max(told.ended, 1):.1f}",
        f"{len(told.delays):,} of {told.ended:,}",
        _percentiles(told.delays),
        f"{told.failures:,}",
    )


def _percentiles(seconds: Sequence[float]) -> str:
    if len(seconds) < 2:
        return "-"
    p95 = quantiles(seconds, n=20, method="inclusive")[-1]
    return f"{1000 * median(seconds):,.0f} / {1000 * p95:,.0f} ms"
