"""The table, the data and the chart of a race."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from matplotlib.figure import Figure

from bench.peers.openvino_peer import NAME as OPENVINO
from bench.peers.race import Plan, Turn
from bench.peers.vllm import ALIKE
from bench.peers.vllm import NAME as VLLM
from bench.results import Results, Table

_HEAD = (
    *("workload", "way", "tokens/s", "spread", "of the first", "spread", "jobs/s"),
    *("CPU s a job", "cores", "others", f"first {ALIKE} alike", "all alike"),
)
_COLOURS = ("#f59e0b", "#93c5fd", "#2563eb", "#9aa1ab")


@dataclass(frozen=True)
class Row:
    """One way in one workload, over all rounds; `first` are the turns of the way that the others
    are compared with, by round."""

    turns: Sequence[Turn]
    first: Sequence[Turn]

    @property
    def rates(self) -> list[float]:
        """Tokens a second of each round, in ascending order."""
        return sorted(turn.found.tokens_per_second for turn in self.turns)

    @property
    def ratios(self) -> list[float]:
        """Tokens a second as a multiple of the first way's in the same round, ascending."""
        return sorted(
            turn.found.tokens_per_second / first.found.tokens_per_second
            for turn, first in zip(self.turns, self.first, strict=True)
        )

    def alike(self, characters: int | None = None) -> int:
        """How many answers of all rounds begin as the first way's; None: are the same."""
        return sum(
            mine[:characters] == known[:characters]
            for turn, first in zip(self.turns, self.first, strict=True)
            for mine, known in zip(turn.found.answers, first.found.answers, strict=True)
        )

    def cells(self) -> tuple[str, ...]:
        """Return the row of the table."""
        answers = sum(len(turn.found.answers) for turn in self.turns)
        rates, ratios = self.rates, self.ratios
        return (
            self.turns[0].workload,
            self.turns[0].found.name,
            f"{median(rates):,.0f}",
            f"{rates[0]:,.0f} to {rates[-1]:,.0f}",
            f"{median(ratios):.2f}",
            f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
            f"{median(turn.found.jobs_per_second for turn in self.turns):.2f}",
            f"{median(turn.cpu_seconds for turn in self.turns):.3f}",
            f"{median(turn.cores for turn in self.turns):.2f}",
            f"{median(turn.others for turn in self.turns):.2f}",
            f"{self.alike(ALIKE)} of {answers}",
            f"{self.alike()} of {answers}",
        )

    def data(self) -> dict[str, Any]:
        """Return everything measured, as JSON data."""
        return {
            "workload": self.turns[0].workload,
            "way": self.turns[0].found.name,
            "tokens_per_s": median(self.rates),
            "ratio": median(self.ratios),
            "ratios": self.ratios,
            "first_characters_alike": self.alike(ALIKE),
            "answers_alike": self.alike(),
            "rounds": [
                {
                    "jobs": len(turn.found.answers),
                    "seconds": turn.found.seconds,
                    "tokens_per_s": turn.found.tokens_per_second,
                    "cpu_s_per_job": turn.cpu_seconds,
                    "cores": turn.cores,
                    "cores_of_others": turn.others,
                    "p50_ms": turn.found.latency_ms(50),
                    "p95_ms": turn.found.latency_ms(95),
                    "cpu_s": dict(turn.found.cpu),
                }
                for turn in self.turns
            ],
        }


def rows(turns: Sequence[Turn]) -> list[Row]:
    """Group turns by workload and way, in the order in which they were first run."""
    found: dict[tuple[str, str], list[Turn]] = {}
    for turn in turns:
        found.setdefault((turn.workload, turn.found.name), []).append(turn)
    first = turns[0].found.name
    return [Row(group, found[workload, first]) for (workload, _), group in found.items()]


def results(command: str, plan: Plan, turns: Sequence[Turn]) -> Results:
    """Put the race's table, data and chart together."""
    found = rows(turns)
    return Results(
        "peers",
        "Other engines by turns with this one",
        command,
        [Table("Tokens a second", [_HEAD, *(row.cells() for row in found)], _note(plan, turns))],
        {"rows": [row.data() for row in found]},
        lambda: chart(found),
    )


def _note(plan: Plan, turns: Sequence[Turn]) -> str:
    cores = len(os.sched_getaffinity(0))
    first = turns[0].found.name
    environments = ((VLLM, "vllm", plan.vllm), (OPENVINO, "openvino", plan.openvino))
    absent = "".join(
        f"{name} is left out: its environment was not given (--{option}). "
        for name, option, given in environments
        if given is None
    )
    return (
        f"{absent}Medians of {plan.rounds} rounds, the slowest and the fastest beside them; "
        f"{plan.in_flight} questions in flight; in each round all ways answer the same new "
        f"questions one after another, each once the machine is quiet. The ratio is to {first} in "
        f"the same round. Cores are those that a way's own processes used of {cores}, without the "
        "callers; what all else used meanwhile, callers included, is beside it."
    )


def chart(found: Sequence[Row]) -> Figure:
    """Draw tokens a second, a group of bars for each workload, with their spread."""
    figure = Figure(figsize=(8, 1.4 + 0.34 * len(found)), layout="constrained")
    axes = figure.add_subplot()
    names = list(dict.fromkeys(row.turns[0].found.name for row in found))
    place, workload = -1.0, ""
    for row in found:
        turn = row.turns[0]
        place += 1.0 if turn.workload == workload else 1.6
        workload = turn.workload
        rates = row.rates
        middle = median(rates)
        colour = _COLOURS[names.index(turn.found.name) % len(_COLOURS)]
        spread = [[middle - rates[0]], [rates[-1] - middle]]
        axes.barh(place, middle, 0.85, xerr=spread, color=colour, ecolor="#374151")
        label = f"{workload}, {turn.found.name}: {middle:,.0f} ({median(row.ratios):.2f}×)"
        axes.text(0, place, f" {label}", va="center", fontsize=8)
    axes.invert_yaxis()
    axes.set_yticks([])
    axes.set_xlabel("tokens a second; the line is the spread over rounds")
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure
