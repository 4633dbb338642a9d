"""The tables, the data and the chart of the GPU measurement."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from bench.gpu import Found, Rate
from bench.results import Results, Table

_HEAD = ("workload", "numbers", "jobs/s", "TFLOP/s", "of ceiling", "GB/s", "of ceiling", "of limit")
_LIMIT = "#dc2626"


def results(command: str, shape: str, found: Found) -> Results:
    """Put the measurement's tables, data and chart together."""
    ceilings = {rate.dtype: rate.ceilings for rate in found.rates}
    note = "; ".join(f"{dtype}: {ceiling}" for dtype, ceiling in ceilings.items())
    return Results(
        "gpu",
        f"A model of the {shape} shape with random weights",
        command,
        [
            Table("Throughput", [_HEAD, *map(_row, found.rates)], f"Ceilings measured: {note}"),
            Table("Answers against `generate`", parity_rows(found)),
        ],
        {
            "shape": shape,
            "rates": [
                {
                    "workload": rate.name,
                    "dtype": rate.dtype,
                    "jobs": rate.jobs,
                    "jobs_per_s": rate.jobs_per_second,
                    "flops_per_s": rate.cost.flops / rate.seconds,
                    "bytes_per_s": rate.cost.bytes / rate.seconds,
                    "share_of_limit": rate.share,
                    "ceilings": vars(rate.ceilings),
                }
                for rate in found.rates
            ],
            "parity": [vars(parity) for parity in found.parities],
        },
        lambda: chart(found.rates),
    )


def parity_rows(found: Found) -> list[tuple[str, ...]]:
    """Return how answers compare with those of the reference path, head first."""
    head: list[tuple[str, ...]] = [
        ("numbers", "batch", "equal token for token", "agreeing before the first difference")
    ]
    return head + [
        (p.dtype, str(p.batch), f"{p.equal} of {p.batch}", f"{p.agreeing:.1%}")
        for p in found.parities
    ]


def chart(rates: Sequence[Rate]) -> Figure:
    """Draw jobs a second, and the measured limit of each run."""
    figure = Figure(figsize=(7.5, 1.2 + 0.45 * len(rates)), layout="constrained")
    axes = figure.add_subplot()
    for place, rate in enumerate(rates):
        bar = axes.barh(place, rate.jobs_per_second, 0.7, color="#2563eb")
        axes.bar_label(bar, [f"{rate.jobs_per_second:.1f}/s, {rate.share:.0%}"], padding=4)
        limit = rate.jobs_per_second / rate.share
        axes.vlines(limit, place - 0.4, place + 0.4, color=_LIMIT, linewidth=1.5)
    axes.set_yticks(range(len(rates)), [f"{rate.name}, {rate.dtype}" for rate in rates])
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel("jobs per second; the line is what the measured ceilings allow")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _row(rate: Rate) -> tuple[str, ...]:
    flops, moved = rate.cost.flops / rate.seconds, rate.cost.bytes / rate.seconds
    return (
        rate.name,
        rate.dtype,
        f"{rate.jobs_per_second:.2f}",
        f"{flops / 1e12:,.3f}",
        f"{flops / rate.ceilings.flops:.0%}",
        f"{moved / 1e9:,.1f}",
        f"{moved / rate.ceilings.bytes:.0%}",
        f"{rate.share:.0%}",
    )
