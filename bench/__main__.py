"""`python -m bench`: measurements of this system, each with one table, JSON and a plot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bench.results import Results

VLLM_OPTION = click.option(
    "--vllm",
    envvar="BENCH_VLLM",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Virtual environment that holds vLLM; without it vLLM is left out.",
)


class ThroughputByDefault(click.Group):
    """A group that measures throughput where no other measurement is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command before options that name none."""
        if not args or (args[0] not in self.commands and args[0] not in {"-h", "--help"}):
            args = ["throughput", *args]
        return super().parse_args(ctx, args)


@click.group(cls=ThroughputByDefault, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure this system; without a command, its throughput.

    Example: python -m bench --quick
    """


@main.command()
@click.option(
    "--quick",
    is_flag=True,
    help="Four short questions of two workloads; under a minute; keeps nothing.",
)
@click.option("--count", default=32, show_default=True, help="Questions of a workload.")
@click.option("--in-flight", default=32, show_default=True, help="Jobs under way at a time.")
@click.option("--seed", default=7, show_default=True, help="Seed of pictures and questions.")
@click.option("--turns", default=3, show_default=True, help="Turns of a way that has many at once.")
@VLLM_OPTION
def throughput(
    quick: bool, count: int, in_flight: int, seed: int, turns: int, vllm: Path | None
) -> None:
    """Measure jobs per second and latency against the plain script and others.

    Example: python -m bench throughput --count 128
    """
    from bench.report import results
    from bench.throughput import Plan, measure_all
    from bench.workload import WORKLOADS

    plan = Plan(count, in_flight, seed, turns, vllm=vllm)
    if quick:
        few = (WORKLOADS[0], WORKLOADS[-1])
        plan = Plan(4, 4, seed, shorter=8, workloads=few, whole=False, vllm=vllm)
    ceilings, compared, around = measure_all(plan)
    command = f"python -m bench throughput --count {count} --in-flight {in_flight}"
    command += f" --seed {seed} --turns {turns}"
    _keep(results(command, ceilings, compared, around), not quick)
    unequal = [group.workload for group in compared if not group.equal]
    if unequal:
        raise click.ClickException(
            f"the answers to {', '.join(unequal)} are not the plain script's; see the last column"
        )


@main.command()
@click.option("--most", default=1_000_000, show_default=True, help="Deepest queue, in jobs.")
@click.option("--repeats", default=300, show_default=True, help="Calls of each operation.")
@click.option("--quick", is_flag=True, help="Up to 10,000 jobs; under a minute; keeps nothing.")
def queue(most: int, repeats: int, quick: bool) -> None:
    """Measure the ledger's operations by the number of queued jobs, and upkeep under load.

    Example: python -m bench queue --most 100000
    """
    import structlog

    from bench.queue_report import results
    from bench.queued import measure
    from bench.sustained import RATE, RETENTIONS
    from bench.sustained import measure as sustain

    # The sweeper tells each second what it repaired, which is what is measured here.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    sustained = sustain(RATE, 2 if quick else RETENTIONS)
    levels = measure(10_000 if quick else most, 50 if quick else repeats)
    command = f"python -m bench queue --most {most} --repeats {repeats}"
    _keep(results(command, levels, sustained), not quick)


@main.command()
@click.option("--callers", default=5_000, show_default=True, help="Jobs, each with a caller.")
@click.option("--seconds", default=45.0, show_default=True, help="Time for each shape.")
@click.option("--rate", default=50.0, show_default=True, help="Jobs that end a second.")
@click.option("--quick", is_flag=True, help="50 callers for 8 seconds; keeps nothing.")
def polls(callers: int, seconds: float, rate: float, quick: bool) -> None:
    """Measure what polling, waiting and the event feed cost one API process.

    Example: python -m bench polls --callers 1000
    """
    from bench.polling import measure
    from bench.polling_report import results

    if quick:
        callers, seconds = 50, 8.0
    found = measure(callers, seconds, rate)
    command = f"python -m bench polls --callers {callers} --seconds {seconds:g} --rate {rate:g}"
    _keep(results(command, seconds, rate, found), not quick)


@main.command()
@click.option("--workload", "workloads", multiple=True, help="One of them; again for another.")
@click.option("--rounds", default=3, show_default=True, help="Rounds of each workload.")
@click.option("--count", default=32, show_default=True, help="Questions of a workload.")
@click.option("--in-flight", default=32, show_default=True, help="Jobs under way at a time.")
@click.option("--seed", default=7, show_default=True, help="Seed of pictures and questions.")
@VLLM_OPTION
@click.option(
    "--openvino",
    envvar="BENCH_OPENVINO",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Virtual environment that holds openvino-genai and optimum-intel; without it, left out.",
)
@click.option("--folder", type=click.Path(path_type=Path), help="Where results are written.")
def peers(
    workloads: tuple[str, ...],
    rounds: int,
    count: int,
    in_flight: int,
    seed: int,
    vllm: Path | None,
    openvino: Path | None,
    folder: Path | None,
) -> None:
    """Race other engines with this one by turns; a part of the workloads keeps nothing.

    Workloads: different_pictures, one_picture, long_answers, mixed_lengths.

    Example: python -m bench peers --rounds 3 --workload one_picture --vllm ../vllm
    """
    from bench.peers.race import RACED, Plan, race
    from bench.peers.report import results

    if unknown := set(workloads) - set(RACED):
        raise click.UsageError(f"{', '.join(unknown)}: the workloads are {', '.join(RACED)}")
    plan = Plan(workloads or tuple(RACED), rounds, count, in_flight, seed, vllm, openvino)
    turns = race(plan, lambda line: click.echo(line, err=True))
    command = f"python -m bench peers --rounds {rounds} --count {count} --in-flight {in_flight}"
    command += f" --seed {seed}" + "".join(f" --workload {name}" for name in workloads)
    _keep(results(command, plan, turns), folder is not None or not workloads, folder)


@main.command()
@click.option("--requests", default="1,64,256", show_default=True, help="Sizes of the batch.")
@click.option("--steps", default=100, show_default=True, help="Steps of each size.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where results are written.")
def host(requests: str, steps: int, folder: Path | None) -> None:
    """Measure what a decode step takes on the host, with a model that does nothing.

    Example: python -m bench host --requests 256
    """
    from bench.host.measure import host_time
    from bench.host.report import results

    found = [host_time(int(size), steps) for size in requests.split(",")]
    command = f"python -m bench host --requests {requests} --steps {steps}"
    _keep(results(command, found, folder), True, folder)


@main.command()
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--count", default=512, show_default=True, help="Questions of each workload.")
@click.option("--seed", default=7, show_default=True, help="Seed of pictures and questions.")
def pictures(path: Path, count: int, seed: int) -> None:
    """Draw the questions of `gpu` into one file, so that the device waits for no drawing.

    Example: python -m bench pictures questions.zip --count 512
    """
    from bench.gpu.pictures import drawn, save

    save(drawn(count, seed), path)
    click.echo(f"wrote {path}")


@main.command()
@click.option("--shape", default="mistral-7b", show_default=True, help="tiny, small, mistral-7b.")
@click.option("--device", default="cuda", show_default=True, help="cuda, cuda:N or cpu.")
@click.option("--dtype", default="bfloat16", show_default=True, help="Or float32.")
@click.option("--count", default=512, show_default=True, help="Jobs of a run.")
@click.option("--tokens", default=128, show_default=True, help="Length of every answer.")
@click.option("--slots", default=256, show_default=True, help="Jobs in the batch.")
@click.option("--prompt", default=2400, show_default=True, help="Tokens of single steps' prompts.")
@click.option("--batches", default="1,64,256", show_default=True, help="Sizes of single steps.")
@click.option("--checked", default=32, show_default=True, help="Answers held to the reference.")
@click.option("--seconds", default=450.0, show_default=True, help="Time for all parts.")
@click.option("--seed", default=7, show_default=True, help="Seed of pictures and questions.")
@click.option("--pictures", "drawn_before", type=click.Path(exists=True, path_type=Path))
@VLLM_OPTION
@click.option("--folder", type=click.Path(path_type=Path), help="Where results are written.")
def gpu(
    shape: str, batches: str, drawn_before: Path | None, folder: Path | None, **options: Any
) -> None:
    """Measure a model of a true shape on one device in minutes, without network.

    Each result is in gpu.jsonl at once. `--pictures` is a file that `python -m bench pictures`
    wrote.

    Example: python -m bench gpu --shape tiny --device cpu --dtype float32 --count 4 --prompt 64
    """
    from bench.gpu.journal import STARTED, Journal
    from bench.gpu.pictures import drawn, load
    from bench.gpu.plan import Plan, State
    from bench.gpu.run import run
    from bench.shape import SHAPES

    sizes = tuple(int(size) for size in batches.split(","))
    plan = Plan(shape=SHAPES[shape], batches=sizes, **options)
    told = " ".join(f"--{name} {value}" for name, value in options.items() if value is not None)
    folder = folder or Path(__file__).parent / "results"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "gpu.jsonl"
    path.unlink(missing_ok=True)
    journal = Journal(path, lambda line: click.echo(line[:200], err=True))
    command = f"python -m bench gpu --shape {shape} --batches {batches} {told}"
    journal.write(STARTED, command=command, shape=shape)
    run(State(plan, load(drawn_before) if drawn_before else drawn(plan.count, plan.seed)), journal)
    journal.close()
    try:
        _gpu_tables(path)
    except ImportError as error:
        click.echo(f"no tables here ({error}): elsewhere, python -m bench gpu-tables {path}")


@main.command("gpu-tables")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
def gpu_tables(path: Path) -> None:
    """Write the tables of a run of `gpu` beside its journal, wherever that was run.

    Example: python -m bench gpu-tables bench/results/gpu.jsonl
    """
    _gpu_tables(path)


def _gpu_tables(path: Path) -> None:
    from bench.gpu.journal import read
    from bench.gpu.report import results

    _keep(results(read(path)), True, path.parent)


def _keep(found: Results, write: bool, folder: Path | None = None) -> None:
    found.show(click.echo)
    for path in found.write(folder) if write else ():
        click.echo(f"wrote {path}")


if __name__ == "__main__":
    main()
