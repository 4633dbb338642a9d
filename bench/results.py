"""What is kept of a measurement: JSON for machines, Markdown for people, under bench/results/."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.machine import machine, versions
from bench.processes import git_commit
from llava_jobs.tables import print_table

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Table:
    """Rows under a title, the head first, and what one must know to read them."""

    title: str
    rows: Sequence[tuple[str, ...]]
    note: str = ""

    def markdown(self) -> str:
        """Return the table in Markdown."""
        lines = [f"| {' | '.join(row)} |" for row in self.rows]
        lines.insert(1, "|" + "---|" * len(self.rows[0]))
        head = f"## {self.title}\n\n" + (f"{self.note}\n\n" if self.note else "")
        return head + "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Results:
    """Tables of one measurement, its data for machines, and the chart that shows it at a glance."""

    name: str
    title: str
    command: str
    tables: Sequence[Table]
    data: dict[str, Any]
    chart: Callable[[], Figure]

    def show(self, say: Callable[[str], object]) -> None:
        """Print the tables and what they were measured on."""
        say(machine())
        for table in self.tables:
            say(f"\n{table.title}" + (f": {table.note}" if table.note else ""))
            print_table(table.rows, say)

    def write(self, folder: Path | None = None) -> list[Path]:
        """Write JSON, Markdown and a plot, and return their paths."""
        folder = folder or RESULTS
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{self.name}.{ending}" for ending in ("json", "md", "svg")]
        paths[0].write_text(json.dumps(self._data(), indent=1, ensure_ascii=False) + "\n", "utf-8")
        paths[1].write_text(self._markdown(), "utf-8")
        with mpl.rc_context({"svg.hashsalt": "llava-jobs", "svg.fonttype": "none"}):
            self.chart().savefig(paths[2], metadata={"Date": None})
        return paths

    def _data(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "command": self.command,
            "commit": git_commit(),
            "date": _today(),
            "machine": machine(),
            "versions": versions(),
            **self.data,
        }

    def _markdown(self) -> str:
        named = ", ".join(f"{name} {version}" for name, version in versions().items())
        head = f"# {self.title}\n\n{machine()}. {named}. {_today()}, `{self.command}`.\n\n"
        return head + "\n".join(table.markdown() for table in self.tables)


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
