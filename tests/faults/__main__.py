"""The fault suite: `python -m tests.faults`, which `make faults` runs."""

from __future__ import annotations

import contextlib
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import click

from tests.faults.checker import Verdict
from tests.faults.cluster import Cluster
from tests.faults.faults import FAULTS, Fault
from tests.faults.layout import PLAIN
from tests.faults.published import CASES
from tests.faults.report import Report
from tests.faults.trial import Trial
from tests.stores import memory_folder

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"


_PAIRED = [fault for fault in FAULTS.values() if fault.layout == PLAIN]


def plan(seeds: range, jobs: int, rate: float) -> list[Trial]:
    """Every fault by itself first, as far as the seeds reach, then pairs drawn at random."""
    each = max(20, -(-jobs // len(seeds)))
    trials = []
    for place, seed in enumerate(seeds):
        faults: tuple[Fault, ...]
        if place < len(FAULTS):
            faults = (list(FAULTS.values())[place],)
        else:
            faults = tuple(random.Random(seed).sample(_PAIRED, 2))
        trials.append(Trial(seed, faults, each, rate))
    return trials


def tried(trial: Trial, logs: Path | None) -> Verdict:
    """Run one trial on an installation of its own; what its processes say goes to ``logs``."""
    with (
        tempfile.TemporaryDirectory(prefix="faults-", dir=memory_folder()) as folder,
        Cluster(Path(folder), layout=trial.layout) as cluster,
    ):
        try:
            return trial.run(cluster)
        finally:
            if logs:
                cluster.close()
                cluster.write_logs(logs)


def show_published(report: Report) -> int:
    """Run what others publish on an installation of ours; how many cases break a promise."""
    failed = 0
    for number, case in enumerate(CASES, 1):
        began = time.monotonic()
        click.echo(f"[{number}/{len(CASES)}] what {case.name} publishes ... ", nl=False)
        if lacks := case.layout.lacks:
            click.echo(f"left out: {lacks}")
            continue
        with (
            tempfile.TemporaryDirectory(prefix="faults-", dir=memory_folder()) as folder,
            Cluster(Path(folder), layout=case.layout, settings=case.settings) as cluster,
        ):
            try:
                figures = case.run(cluster)
            except AssertionError as error:
                failed += 1
                figures = f"**broken**: {error}"
        report.cases.append((case, figures))
        click.echo(f"{time.monotonic() - began:.0f} s, {figures}")
    return failed


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seed", type=int, help="Run this seed alone, with the faults named by --fault.")
@click.option(
    "--fault",
    "names",
    multiple=True,
    type=click.Choice(list(FAULTS)),
    help="A fault to inject; once more for a pair.",
)
@click.option("--seeds", default=40, show_default=True, help="Runs, where no --seed is given.")
@click.option("--jobs", default=20_000, show_default=True, help="Jobs of all runs together.")
@click.option("--rate", default=60.0, show_default=True, help="Jobs submitted a second.")
@click.option(
    "--logs",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for what each process of a run printed.",
)
@click.option(
    "--write/--no-write", default=None, help="Write docs/reliability.md; only without --seed."
)
def main(
    seed: int | None,
    names: tuple[str, ...],
    seeds: int,
    jobs: int,
    rate: float,
    logs: Path | None,
    write: bool | None,
) -> None:
    """Break an installation on purpose, count what is lost, and fail where anything is.

    Every fault runs by itself, then in random pairs. A failure prints the command that repeats it.

    Example: python -m tests.faults --seed 7 --fault kill_worker --fault cut --jobs 120
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left behind
    if seed is None:
        trials = plan(range(1, seeds + 1), jobs, rate)
    else:
        trials = [Trial(seed, tuple(FAULTS[name] for name in names), min(jobs, 500), rate)]
    report = Report()
    failed = 0
    for number, trial in enumerate(trials, 1):
        began = time.monotonic()
        click.echo(f"[{number}/{len(trials)}] {trial.name}, seed {trial.seed} ... ", nl=False)
        if lacks := trial.layout.lacks:
            click.echo(f"left out: {lacks}")
            continue
        verdict = tried(trial, logs)
        report.add(trial, verdict)
        failed += bool(verdict.violations)
        click.echo(f"{time.monotonic() - began:.0f} s, {verdict.in_short}")
        for kind, found in verdict.violations.items():
            click.echo(f"    {kind}: " + "\n        ".join(found[:10]))
        if verdict.violations:
            click.echo(f"    again: {trial.command}")
    if seed is None:
        failed += show_published(report)
    click.echo(report.table())
    if write or (write is None and seed is None):
        with contextlib.suppress(FileNotFoundError):
            DOCUMENT.write_text(report.document(DOCUMENT.read_text()))
        click.echo(f"written: docs/{DOCUMENT.name}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
