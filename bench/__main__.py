"""`python -m bench`: jobs per second of this system against the plain script."""

from __future__ import annotations

import click
from tqdm import tqdm

from bench.plain import run_plain
from bench.report import Report
from bench.system import installation, run_system
from bench.workload import different_pictures
from demo.model import WEIGHTS
from jobs.settings import DEMO_MODEL


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="A quarter of the questions; under a minute.")
@click.option("--count", default=256, show_default=True, help="Questions to answer.")
@click.option("--in-flight", default=32, show_default=True, help="Jobs under way at a time.")
@click.option("--max-new-tokens", default=32, show_default=True, help="Longest answer.")
@click.option("--seed", default=7, show_default=True, help="Seed of pictures and questions.")
def main(quick: bool, count: int, in_flight: int, max_new_tokens: int, seed: int) -> None:
    """Measure jobs per second and latency with the demo model, and check the answers equal.

    Example: python -m bench --quick
    """
    count = count // 4 if quick else count
    questions = different_pictures(count, seed)

    def bar(name: str) -> tqdm:
        return tqdm(total=count, desc=name, unit="job", leave=False)

    with bar("plain script") as progress:
        plain = run_plain(WEIGHTS, questions, max_new_tokens, progress.update)
    measured = [plain]
    with installation(DEMO_MODEL, in_flight) as client:
        for busy in (1, in_flight):
            with bar(f"{busy} in flight") as progress:
                measured.append(
                    run_system(client, questions, max_new_tokens, busy, progress.update)
                )
    report = Report(
        "Jobs per second, demo model",
        f"{count} questions about different pictures, seed {seed}, "
        f"at most {max_new_tokens} tokens an answer",
        f"python -m bench --count {count} --in-flight {in_flight}",
        measured,
    )
    report.show(click.echo)
    if not quick:
        for path in report.write("throughput"):
            click.echo(f"wrote {path.relative_to(path.parents[2])}")
    if any(report.same(found) != count for found in measured):
        raise click.ClickException("the answers are not the plain script's; see the last column")


if __name__ == "__main__":
    main()
