"""The table and the data of host times: what was measured before at other commits stays."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from bench.host.measure import ANSWER, PROMPT, HostTime
from bench.machine import machine
from bench.processes import git_commit
from bench.results import RESULTS, Results, Table

NAME = "host"
_HEAD = ("commit", "date", "requests", "median ms", "p95 ms", "processor ms")


def results(command: str, found: Sequence[HostTime], folder: Path | None = None) -> Results:
    """Put the table, the data and the chart together, below what the folder already has."""
    runs = [run for run in earlier(folder) if run["commit"] != git_commit()]
    runs.append(
        {
            "commit": git_commit(),
            "date": datetime.now(UTC).date().isoformat(),
            "machine": machine(),
            "steps": [vars(time) for time in found],
        }
    )
    rows = [
        (
            *(run["commit"], run["date"], str(step["requests"])),
            *(f"{step[part]:.2f}" for part in ("median_ms", "p95_ms", "cpu_ms")),
        )
        for run in runs
        for step in run["steps"]
    ]
    note = (
        f"Requests with prompts of {PROMPT:,} tokens that have been read, and answers of {ANSWER}; "
        "the model does nothing, so that this is what the batch itself takes, on one thread."
    )
    return Results(
        NAME,
        "Host time of a decode step",
        command,
        [Table("A step that generates one token for each request", [_HEAD, *rows], note)],
        {"runs": runs},
        lambda: chart(runs),
    )


def earlier(folder: Path | None = None) -> list[dict[str, Any]]:
    """Return what was measured before, at other commits."""
    path = (folder or RESULTS) / f"{NAME}.json"
    if not path.exists():
        return []
    runs: list[dict[str, Any]] = json.loads(path.read_text())["runs"]
    return runs


def chart(runs: Sequence[dict[str, Any]]) -> Figure:
    """Draw milliseconds by number of requests, a line for each commit."""
    figure = Figure(figsize=(6.5, 3.5), layout="constrained")
    axes = figure.add_subplot()
    for run in runs:
        requests = [step["requests"] for step in run["steps"]]
        times = [step["median_ms"] for step in run["steps"]]
        axes.plot(requests, times, marker="o", label=f"{run['commit']}, {run['date']}")
    axes.set_xlabel("requests in the batch")
    axes.set_ylabel("milliseconds a step, median")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
