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
from tests.faults.published import Case
from tests.faults.trial import Trial

BEGIN, END = "<!-- measured: make faults -->", "<!-- end -->"
PUBLISHED = "<!-- measured: make faults, what others publish -->"
_COLUMNS: tuple[tuple[str, Callable[[Verdict], int]], ...] = (
    ("accepted", lambda v: v.accepted),
    ("lost", lambda v: len(v.lost)),
    ("unexpected", lambda v: len(v.unexpected)),
    ("committed twice", lambda v: len(v.duplicated)),
    ("illegal", lambda v: len(v.illegal)),
    ("taken back", lambda v: len(v.taken_back)),
    ("wrong", lambda v: len(v.wrong)),
    ("stuck", lambda v: len(v.stuck)),
    ("doubtful", lambda v: v.doubtful),
    ("recovered", lambda v: v.recovered),
    ("runs wasted", lambda v: v.wasted),
)


@dataclass
class Report:
    """The runs so far."""

    rows: list[tuple[Trial, Verdict]] = field(default_factory=list)
    cases: list[tuple[Case, str]] = field(default_factory=list)
    """What others publish, and what each came to here."""

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

    def published(self) -> str:
        """One line for each case of what others publish."""
        lines = [["who", "what they publish", "our case", "what came of it"], ["---"] * 4]
        for case, figures in self.cases:
            lines.append([case.source, case.theirs, case.means, figures])
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def document(self, before: str) -> str:
        """The document with the measured parts replaced by these runs and cases."""
        when = f"{datetime.now(UTC):%Y-%m-%d}"
        told = f"Measured on {when} on {machine()}, Python {platform.python_version()}."
        after = _replaced(before, BEGIN, f"{told}\n\n{self.table()}")
        return _replaced(after, PUBLISHED, f"{told}\n\n{self.published()}")


def _replaced(text: str, begin: str, new: str) -> str:
    """Put something new between a mark and the end that comes next."""
    head, mark, rest = text.partition(begin)
    if not mark:
        return text
    _, _, tail = rest.partition(END)
    return f"{head}{begin}\n{new}\n{END}{tail}"


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
