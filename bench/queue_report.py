"""The tables, the data and the chart of the queue measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from matplotlib.figure import Figure

from bench.queued import CONNECTIONS, FLOOR_OF, TENANTS, Level
from bench.results import Results, Table
from bench.sustained import FASTER, RETENTION_S, Sustained

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


_SUSTAINED = (
    "Jobs are submitted and finished on disk by one process, 3 of 100 wait for a worker that does "
    "not exist and miss their deadline, and as many have a webhook whose receiver is dead. Every "
    f"{FASTER} ms of the jobs' clock are one of the machine's, so that a retention of an hour "
    f"passes in {RETENTION_S:g} s; how late something was is in the machine's seconds. The sweeper "
    "looks once a second."
)


def results(command: str, levels: Sequence[Level], sustained: Sustained) -> Results:
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
            Table("Upkeep under a steady load", sustained_rows(sustained), _SUSTAINED),
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
            "sustained": asdict(sustained),
        },
        lambda: chart(levels, sustained),
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


def sustained_rows(found: Sustained) -> list[tuple[str, ...]]:
    """Return what a steady load did and how late upkeep was, head first."""
    retentions = f"{found.seconds / RETENTION_S:.0f} retentions"
    return [
        ("", f"{found.wanted:,} jobs a second offered, for {retentions}"),
        ("jobs a second that ended", f"{found.ended_per_s:,.0f}"),
        ("jobs forgotten", f"{found.forgotten:,}"),
        ("cores that the store took", f"{found.store_cores:.2f}"),
        ("latest end of a retention", f"{found.worst('retention'):.1f} s"),
        ("latest end by a deadline", f"{found.worst('deadline'):.1f} s"),
        ("latest webhook given up", f"{found.worst('webhook'):.1f} s"),
    ]


def chart(levels: Sequence[Level], sustained: Sustained) -> Figure:
    """Draw the time of each operation over the depth of the queue, and how late upkeep was."""
    figure = Figure(figsize=(8.5, 7.2), layout="constrained")
    axes, below = figure.subplots(2, 1, height_ratios=[3, 2])
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
    seconds = [sample.second for sample in sustained.samples]
    for kind, colour in (("retention", "#2563eb"), ("deadline", "#dc2626"), ("webhook", "#16a34a")):
        late = [getattr(sample, f"late_{kind}") for sample in sustained.samples]
        below.plot(seconds, late, color=colour, label=kind)
    below.set_ylim(bottom=0)
    below.set_xlabel("seconds")
    below.yaxis.set_major_formatter(lambda value, _: f"{value:g} s")
    below.set_title(
        f"How late upkeep is at {sustained.ended_per_s:,.0f} jobs a second", fontsize=11
    )
    below.spines[["top", "right"]].set_visible(False)
    below.legend(frameon=False, fontsize=8)
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
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)


def _micros(levels: Sequence[Level], name: str) -> list[float]:
    return [level.times[name].data()["p50_us"] for level in levels]
