"""The tables, the data and the chart of the queue measurement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from bench.queued import CONNECTIONS, FLOOR_OF, TENANTS, Level
from bench.results import Results, Table

_COLOURS = {
    "submit": "#dc2626",
    "claim": "#2563eb",
    "finish": "#16a34a",
    "poll": "#7c3aed",
    "position": "#0891b2",
    "sweep": "#6b7480",
}
_MEMORY = (
    f"Memory counts what {TENANTS:,} tenants take by themselves, which at the first depths is most."
)


def results(command: str, levels: Sequence[Level]) -> Results:
    """Put the measurement's tables, data and chart together."""
    note = (
        f"Over one connection, one call after another, at so many queued jobs of {TENANTS:,} "
        "tenants. On disk is as in an installation; for the rest the store syncs nothing, so that "
        "its own work shows. The share is of the store's floor, at the deepest queue."
    )
    return Results(
        "queue",
        "The ledger's operations by depth of the queue",
        command,
        [
            Table("Calls a second", speed_rows(levels), note),
            Table("Queue", other_rows(levels), _MEMORY),
        ],
        {
            "tenants": TENANTS,
            "levels": [
                {
                    "queued": level.queued,
                    "bytes_per_job": level.bytes_per_job,
                    "parallel_submits_per_s": level.parallel_submits,
                    "operations": {name: found.data() for name, found in level.times.items()},
                }
                for level in levels
            ],
        },
        lambda: chart(levels),
    )


def speed_rows(levels: Sequence[Level]) -> list[tuple[str, ...]]:
    """Return calls a second by operation and depth, head first."""
    last = levels[-1].times
    rows: list[tuple[str, ...]] = [("", *(f"{level.queued:,}" for level in levels), "of floor")]
    for name in [*FLOOR_OF, *dict.fromkeys(FLOOR_OF.values())]:
        floor = FLOOR_OF.get(name)
        share = f"{last[name].per_second / last[floor].per_second:.0%}" if floor else ""
        rows.append((name, *(f"{level.times[name].per_second:,.0f}" for level in levels), share))
    return rows


def other_rows(levels: Sequence[Level]) -> list[tuple[str, ...]]:
    """Return memory and parallel submits by depth, head first."""
    return [
        ("", *(f"{level.queued:,}" for level in levels)),
        ("bytes of memory a queued job", *(f"{level.bytes_per_job:,.0f}" for level in levels)),
        (
            f"submits a second, on disk, {CONNECTIONS} connections",
            *(f"{level.parallel_submits:,.0f}" for level in levels),
        ),
    ]


def chart(levels: Sequence[Level]) -> Figure:
    """Draw the time of each operation over the depth of the queue: flat lines are the aim."""
    figure = Figure(figsize=(8.5, 4.8), layout="constrained")
    axes = figure.add_subplot()
    depths = [level.queued for level in levels]
    for name, colour in _COLOURS.items():
        axes.plot(depths, _micros(levels, name), "o-", color=colour, label=name)
    for name in (FLOOR_OF["submit"], FLOOR_OF["poll"]):
        axes.plot(depths, _micros(levels, name), ":", color="#9aa1ab")
        axes.annotate(
            name.removeprefix("floor: "),
            (depths[0], _micros(levels, name)[0]),
            (0, 3 if name == FLOOR_OF["submit"] else -9),
            textcoords="offset points",
            fontsize=7,
            color="#6b7480",
        )
    _dress(axes)
    return figure


def _dress(axes: Any) -> None:
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f} µs")
    axes.minorticks_off()
    axes.set_xlabel("queued jobs")
    axes.set_title("Time of a call, without syncs; dotted: the store's floor", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.figure.legend(loc="outside right center", frameon=False, fontsize=8)


def _micros(levels: Sequence[Level], name: str) -> list[float]:
    return [level.times[name].data()["p50_us"] for level in levels]
