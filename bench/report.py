"""The tables, the data and the chart of the throughput measurement."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from matplotlib.figure import Figure

from bench.ceilings import Ceilings
from bench.measured import Measured, median_of
from bench.peers.vllm import ALIKE
from bench.peers.vllm import NAME as VLLM
from bench.results import Results, Table
from bench.system import NAME as SYSTEM
from bench.system import REST

STAGES = ("queue", "preprocess", "vision", "generate", REST)
COLOURS = ("#c4c8ce", "#9aa1ab", "#6b7480", "#f59e0b", "#a16207", "#93c5fd", "#2563eb")
_LIMIT = "#dc2626"


@dataclass(frozen=True)
class Compared:
    """Ways of answering the same questions; the first is what the others are compared with.

    `limit` is the most jobs a second that the machine's ceilings allow, where it was counted.
    """

    workload: str
    description: str
    limit: float | None
    measured: list[Measured] = field(default_factory=list)

    def same(self, found: Measured) -> int:
        """How many answers equal those of the first way to the same questions."""
        known = self.measured[0].answers
        end = found.alike
        return sum(a[:end] == b[:end] for a, b in zip(found.answers, known, strict=False))

    @property
    def equal(self) -> bool:
        """Whether every way gave the answers of the first, in every turn.

        Engines that round differently are counted by `same` alone: a near tie may turn even one of
        their first tokens.
        """
        ours = (found for found in self.measured if found.alike is None)
        return all(self.same(found) == len(found.answers) for found in ours)

    @property
    def ways(self) -> list[Measured]:
        """The median turn of each way, in the order of the ways."""
        turns: dict[str, list[Measured]] = {}
        for found in self.measured:
            turns.setdefault(found.name, []).append(found)
        return [median_of(found) for found in turns.values()]

    def ratio(self, found: Measured) -> float:
        """Jobs a second as a multiple of the first way's."""
        return found.jobs_per_second / self.measured[0].jobs_per_second

    def data(self) -> dict[str, Any]:
        """Return everything measured, as JSON data."""
        return {
            "workload": self.workload,
            "description": self.description,
            "limit_jobs_per_s": self.limit,
            "ways": [
                {
                    "name": found.name,
                    "jobs": len(found.answers),
                    "jobs_per_s": found.jobs_per_second,
                    "jobs_per_s_of_turns": list(found.rates),
                    "ratio": self.ratio(found),
                    "share_of_limit": self.limit and found.jobs_per_second / self.limit,
                    "tokens_per_s": found.tokens_per_second,
                    "cpu_s_per_job": found.server_cpu / len(found.answers),
                    "cores": found.server_cpu / found.seconds,
                    "p50_ms": found.latency_ms(50),
                    "p95_ms": found.latency_ms(95),
                    "same_answers": self.same(found),
                    "characters_compared": found.alike,
                    "stages_ms": medians(found),
                    "cpu_ms": {role: found.cpu_ms(role) for role in found.cpu},
                }
                for found in self.ways
            ],
        }


@dataclass(frozen=True)
class Around:
    """Processor milliseconds a job, with a model: the system's processes, and the engine alone."""

    model: str
    system: Measured
    engine: Measured

    @property
    def milliseconds(self) -> float:
        """What the system around the engine takes: HTTP, ledger and Celery.

        Not in it is the check of the picture: it is decoded and encoded anew where nothing else is.
        """
        roles = ("api", "store", "worker")
        return sum(map(self.system.cpu_ms, roles)) - self.engine.cpu_ms("engine")

    def row(self) -> tuple[str, ...]:
        """Return the row of the table."""
        parts = [
            *map(self.system.cpu_ms, ("api", "store", "worker")),
            self.engine.cpu_ms("engine"),
            self.milliseconds,
            *map(self.system.cpu_ms, ("pictures", "client")),
        ]
        return (self.model, *(f"{part:.1f}" for part in parts))


def results(
    command: str, ceilings: Ceilings, compared: Sequence[Compared], around: Sequence[Around]
) -> Results:
    """Put the measurement's tables, data and chart together."""
    ways = sorted({found.name for group in compared for found in group.measured})
    tables = [
        Table("Throughput", throughput_rows(compared), _note(ceilings, ways)),
        Table(
            "Where each millisecond of a job goes",
            stage_rows(compared),
            f"Medians of {SYSTEM}. The rest is HTTP, ledger, hint and the wait for a place in the "
            "batch.",
        ),
    ]
    if around:
        note = (
            "Milliseconds of processor time a job. Around the engine are API, store and worker, "
            "less the engine alone, which answered the same questions in its own process. Pictures "
            "are decoded and encoded anew in processes that do nothing else."
        )
        rows = [_AROUND_HEAD, *(found.row() for found in around)]
        tables.append(Table("Processor time", rows, note))
    return Results(
        "throughput",
        "Jobs per second and latency",
        command,
        tables,
        {
            "ceilings": vars(ceilings),
            "workloads": [found.data() for found in compared],
            "cpu": [
                {
                    "model": found.model,
                    "around_engine_ms": found.milliseconds,
                    "engine_ms": found.engine.cpu_ms("engine"),
                    "system_ms": {role: found.system.cpu_ms(role) for role in found.system.cpu},
                }
                for found in around
            ],
        },
        lambda: chart([found for found in compared if found.limit]),
    )


_AROUND_HEAD = (
    *("model", "API", "store", "worker", "engine alone", "around the engine"),
    *("pictures", "client"),
)


def throughput_rows(compared: Iterable[Compared]) -> list[tuple[str, ...]]:
    """Return the rows of the first table, head first."""
    rows: list[tuple[str, ...]] = [
        (
            *("workload", "way", "jobs/s", "turns", "ratio", "of limit", "tokens/s"),
            *("CPU s a job", "cores", "p50 ms", "p95 ms", "same"),
        )
    ]
    for group in compared:
        for number, found in enumerate(group.ways):
            share = f"{found.jobs_per_second / group.limit:.0%}" if group.limit else ""
            rows.append(
                (
                    "" if number else group.workload,
                    found.name,
                    f"{found.jobs_per_second:.2f}",
                    _spread(found),
                    f"{group.ratio(found):.2f}",
                    share,
                    f"{found.tokens_per_second:,.0f}",
                    f"{found.server_cpu / len(found.answers):.3f}",
                    f"{found.server_cpu / found.seconds:.2f}",
                    f"{found.latency_ms(50):,.0f}",
                    f"{found.latency_ms(95):,.0f}",
                    f"{group.same(found)} of {len(found.answers)}",
                )
            )
    return rows


def _spread(found: Measured) -> str:
    return f"{found.rates[0]:.2f} to {found.rates[-1]:.2f}" if len(found.rates) > 1 else ""


def stage_rows(compared: Iterable[Compared]) -> list[tuple[str, ...]]:
    """Return the rows of the second table, head first."""
    rows: list[tuple[str, ...]] = [("workload", *(f"{stage} ms" for stage in STAGES), "p50 ms")]
    for group in compared:
        for found in group.ways:
            parts = medians(found)
            if parts:
                cells = [f"{parts.get(stage, 0.0):,.1f}" for stage in STAGES]
                rows.append((group.workload, *cells, f"{found.latency_ms(50):,.0f}"))
    return rows


def medians(found: Measured) -> dict[str, float]:
    """Return the median milliseconds of each stage that a way tells of."""
    names: Mapping[str, float] = found.stages[0] if found.stages else {}
    return {name: median(job[name] for job in found.stages) for name in names}


def chart(compared: Sequence[Compared]) -> Figure:
    """Draw jobs a second as multiples of the first way's, a group of bars for each workload."""
    ways = [found.name for found in max((group.ways for group in compared), key=len)]
    colours = dict(zip(ways, COLOURS, strict=False))
    bars = sum(len(group.ways) + 1 for group in compared)
    figure = Figure(figsize=(8.5, 1.4 + 0.22 * bars), layout="constrained")
    axes = figure.add_subplot()
    place, ticks = 0, []
    for group in compared:
        for number, found in enumerate(group.ways):
            _bar(axes, group, found, place + number, colours[found.name])
        last = place + len(group.ways) - 1
        if group.limit:
            most = group.limit / group.measured[0].jobs_per_second
            axes.vlines(most, place - 0.5, last + 0.5, color=_LIMIT, linewidth=1.5, zorder=1)
        ticks.append(((place + last) / 2, group.workload))
        place = last + 2
    axes.set_yticks([middle for middle, _ in ticks], [name for _, name in ticks])
    _dress(axes, place, colours)
    return figure


def _bar(axes: Any, group: Compared, found: Measured, place: int, colour: str) -> None:
    ratio = group.ratio(found)
    axes.barh(place, ratio, 0.88, color=colour, zorder=2)
    axes.annotate(
        f"{ratio:.1f}×  {found.jobs_per_second:.2f}/s",
        (ratio, place),
        (4, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        fontweight="bold" if found.name == SYSTEM else "normal",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
        zorder=3,
    )


def _dress(axes: Any, places: int, colours: Mapping[str, str]) -> None:
    swatches = [axes.barh(0, 0, color=colour, label=name) for name, colour in colours.items()]
    limit = axes.plot([], [], color=_LIMIT, linewidth=1.5, label="this machine's limit")
    axes.figure.legend(
        handles=[*swatches, *limit], loc="outside lower center", ncols=6, frameon=False, fontsize=8
    )
    axes.set_title("The same questions, the same answers, the same machine", fontsize=11)
    axes.set_xscale("log")
    axes.set_ylim(places - 1, -1)
    axes.set_xticks([1, 2, 5, 10, 20, 50], minor=False)
    axes.set_xticks([], minor=True)
    axes.set_xlim(0.5, max(40, 1.6 * axes.get_xlim()[1]))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    axes.set_xlabel("jobs per second as a multiple of the plain script's (log scale)")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _about_vllm(ways: Sequence[str]) -> str:
    if VLLM not in ways:
        return f"{VLLM} is left out: its environment was not given (--vllm)."
    return f"Of {VLLM}'s answers the first {ALIKE} characters are compared: it rounds differently."


def _note(ceilings: Ceilings, ways: Sequence[str]) -> str:
    return (
        "Where a way had several turns, each after the others had theirs, the row is its median "
        "turn, and beside it are the slowest and the fastest. "
        f"The limit is what {ceilings}, measured just before, allow for the arithmetic and the "
        "traffic that the jobs cannot do without. Cores and processor seconds are those of a way's "
        f"own processes, its callers' not, on {len(os.sched_getaffinity(0))} cores. "
        + _about_vllm(ways)
    )
