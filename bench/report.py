"""The table of a measurement, in the terminal and under bench/results/."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.measured import Measured
from llava_jobs.tables import print_table

RESULTS = Path(__file__).parent / "results"
HEAD = ("", "jobs/s", "ratio", "p50 ms", "p95 ms", "same answers")


@dataclass(frozen=True)
class Report:
    """Ways of answering the same questions; the first is what the others are compared with."""

    title: str
    workload: str
    command: str
    measured: Sequence[Measured]

    def rows(self) -> list[tuple[str, ...]]:
        """Return the table, head first."""
        base = self.measured[0]
        head: list[tuple[str, ...]] = [HEAD]
        return head + [
            (
                found.name,
                f"{found.jobs_per_second:.2f}",
                f"{found.jobs_per_second / base.jobs_per_second:.2f}",
                f"{found.latency_ms(50):.0f}",
                f"{found.latency_ms(95):.0f}",
                f"{self.same(found)} of {len(base.answers)}",
            )
            for found in self.measured
        ]

    def same(self, found: Measured) -> int:
        """How many answers equal those of the first way."""
        return sum(a == b for a, b in zip(found.answers, self.measured[0].answers, strict=True))

    def show(self, say: Callable[[str], object]) -> None:
        """Print the table and what it was measured on."""
        say(f"{self.title}: {self.workload}")
        say(machine())
        print_table(self.rows(), say)

    def write(self, name: str) -> list[Path]:
        """Write the table as JSON, Markdown and a plot, and return their paths."""
        RESULTS.mkdir(exist_ok=True)
        paths = [RESULTS / f"{name}.{ending}" for ending in ("json", "md", "svg")]
        paths[0].write_text(json.dumps(self._data(), indent=1) + "\n")
        paths[1].write_text(self._markdown())
        self._plot().savefig(paths[2])
        return paths

    def _data(self) -> dict[str, object]:
        return {
            "title": self.title,
            "workload": self.workload,
            "command": self.command,
            "machine": machine(),
            "date": datetime.now(UTC).date().isoformat(),
            "rows": [dict(zip(HEAD, row, strict=True)) for row in self.rows()[1:]],
        }

    def _markdown(self) -> str:
        lines = [f"| {' | '.join(row)} |" for row in self.rows()]
        lines.insert(1, "|" + "---|" * len(HEAD))
        day = datetime.now(UTC).date().isoformat()
        head = f"# {self.title}\n\n{self.workload}. {machine()}. {day}, `{self.command}`.\n\n"
        return head + "\n".join(lines) + "\n"

    def _plot(self) -> Figure:
        with mpl.rc_context({"svg.hashsalt": "llava-jobs"}):
            figure = Figure(figsize=(7, 1 + 0.5 * len(self.measured)), layout="constrained")
            axes = figure.add_subplot()
            bars = axes.barh(
                [found.name for found in self.measured],
                [found.jobs_per_second for found in self.measured],
                color=["#8a8f98"] + ["#2563eb"] * (len(self.measured) - 1),
            )
            axes.bar_label(bars, fmt="%.1f", padding=3)
            axes.invert_yaxis()
            axes.margins(x=0.12)
            axes.set_xlabel("jobs per second")
            axes.set_title(self.title)
            axes.spines[["top", "right"]].set_visible(False)
        return figure


def machine() -> str:
    """Return one line that says what was measured on, and with which versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "celery"))
    return (
        f"{os.cpu_count()} cores ({platform.machine()}, {_processor()}), {_device()}; "
        f"Python {platform.python_version()}, {versions}"
    )


def _processor() -> str:
    for line in _cpuinfo():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
