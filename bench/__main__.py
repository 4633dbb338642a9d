"""`python -m bench`: measurements of this system, each with one table, JSON and a plot."""

from __future__ import annotations

import click


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
@click.option("--quick", is_flag=True, help="A few short questions; under a minute; keeps nothing.")
@click.option("--count", default=64, show_default=True, help="Questions of a workload.")
@click.option("--in-flight", default=32, show_default=True, help="Jobs under way at a time.")
@click.option("--seed", default=7, show_default=True, help="Seed of pictures and questions.")
def throughput(quick: bool, count: int, in_flight: int, seed: int) -> None:
    """Measure jobs per second and latency against the plain script and others.

    Example: python -m bench throughput --count 128
    """
    from bench.report import results
    from bench.throughput import Plan, measure_all
    from bench.workload import WORKLOADS

    plan = Plan(count, in_flight, seed)
    if quick:
        plan = Plan(8, 8, seed, shorter=8, workloads=(WORKLOADS[0], WORKLOADS[-1]))
    ceilings, compared, around = measure_all(plan)
    command = f"python -m bench throughput --count {count} --in-flight {in_flight} --seed {seed}"
    found = results(command, ceilings, compared, around)
    found.show(click.echo)
    if not quick:
        for path in found.write():
            click.echo(f"wrote {path.relative_to(path.parents[2])}")
    unequal = [group.workload for group in compared if not group.equal]
    if unequal:
        raise click.ClickException(
            f"the answers to {', '.join(unequal)} are not the plain script's; see the last column"
        )


if __name__ == "__main__":
    main()
