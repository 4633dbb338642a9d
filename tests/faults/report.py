"""What the runs came to, as a table for people and for docs/reliability.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.checker import Verdict
from tests.faults.faults import FAULTS
from tests.faults.trial import Trial

BEGIN, END = "<!-- measured: make faults -->", "<!-- end -->"
_COLUMNS: tuple[tuple[str, Callable[[Verdict], int]], ...] = (
    ("accepted", lambda v: v.accepted),
    ("lost", lambda v: len(v.lost)),
    ("unexpected", lambda v: len(v.unexpected)),
    ("committed twice", lambda v: len(v.duplicated)),
    ("illegal", lambda v: len(v.illegal)),
    ("taken back", lambda v: len(v.taken_back)),
    ("wrong", lambda v: len(v.wrong)),
    ("doubtful", lambda v: v.doubtful),
    ("recovered", lambda v: v.recovered),
    ("runs wasted", lambda v: v.wasted),
)


@dataclass
class Report:
    """The runs so far."""

    rows: list[tuple[Trial, Verdict]] = field(default_factory=list)

    def add(self, trial: Trial, verdict: Verdict) -> None:
        """Take in a run."""
        self.rows.append((trial, verdict))

    def table(self) -> str:
        """One line for each run, and their sum."""
        head = ["faults", "seed", *(name for name, _ in _COLUMNS), "worst recovery"]
        lines = [head, ["---"] * len(head)]
        for trial, verdict in self.rows:
            counts = [f"{of(verdict):,}" for _, of in _COLUMNS]
            worst = f"{verdict.recovery_ms / 1000:.1f} s" if verdict.recovery_ms else ""
            lines.append([trial.name, str(trial.seed), *counts, worst])
        sums = [f"{sum(of(v) for _, v in self.rows):,}" for _, of in _COLUMNS]
        worst_ms = max((v.recovery_ms for _, v in self.rows), default=0)
        lines.append(["**all**", f"{len(self.rows)} runs", *sums, f"{worst_ms / 1000:.1f} s"])
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def document(self, before: str) -> str:
        """The document with the measured part replaced by these runs."""
        head, _, rest = before.partition(BEGIN)
        _, _, tail = rest.partition(END)
        when = f"{datetime.now(UTC):%Y-%m-%d}"
        told = f"Measured on {when} on {machine()}, Python {platform.python_version()}."
        return f"{head}{BEGIN}\n{told}\n\n{self.table()}\n{END}{tail}"


def machine() -> str:
    """The machine in a few words."""
    model = platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [line for line in information.read_text().splitlines() if "model name" in line]
        model = names[0].partition(": ")[2] if names else model
    return f"{os.cpu_count()} cores ({model}), {platform.system()}"


def described() -> str:
    """The faults and what they mean, as a table."""
    lines = [f"| `{fault.name}` | {fault.means} |" for fault in FAULTS.values()]
    return "\n".join(["| fault | what happens |", "|---|---|", *lines])
