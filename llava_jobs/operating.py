"""`llava-jobs intake`, `workers` and `failures`: the controls of an installation that runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click

from jobs.drain import Drain
from jobs.errors import NotFound
from jobs.failures import REASONS
from jobs.job import Reason
from jobs.ledger import Ledger, Limits
from jobs.operations import Operations
from jobs.signals import Signals
from jobs.store import inspect
from llava_jobs.stores import data_dir_option, opened_store, read_settings
from llava_jobs.tables import print_table

_tenant_option = click.option("--tenant", help="Whose jobs; else everybody's.")
_reason_argument = click.argument("reason", type=click.Choice([reason.value for reason in REASONS]))


@click.group()
def intake() -> None:
    """Pause and resume the intake of jobs; what was accepted goes on.

    Example: llava-jobs intake pause
    """


@intake.command("show")
@data_dir_option
def show_intake(data_dir: Path) -> None:
    """Show whose jobs are not accepted.

    Example: llava-jobs intake show
    """
    with _opened(data_dir) as (operations, _):
        pauses = operations.intake.pauses()
    if pauses.everybody is not None:
        click.echo(f"everybody: paused since {_moment(pauses.everybody)}")
    for tenant, since in pauses.tenants.items():
        click.echo(f"{tenant}: paused since {_moment(since)}")
    if pauses.everybody is None and not pauses.tenants:
        click.echo("jobs are accepted")


@intake.command("pause")
@_tenant_option
@data_dir_option
def pause_intake(tenant: str | None, data_dir: Path) -> None:
    """Accept no jobs: each is refused with 503 and the code `paused`.

    Example: llava-jobs intake pause --tenant acme
    """
    with _opened(data_dir, at_rest=True) as (operations, _):
        operations.intake.pause(tenant)
    click.echo(f"paused the intake of {tenant or 'everybody'}")


@intake.command("resume")
@_tenant_option
@data_dir_option
def resume_intake(tenant: str | None, data_dir: Path) -> None:
    """Accept jobs again.

    Example: llava-jobs intake resume --tenant acme
    """
    with _opened(data_dir, at_rest=True) as (operations, _):
        operations.intake.resume(tenant)
    click.echo(f"resumed the intake of {tenant or 'everybody'}")


@click.group()
def workers() -> None:
    """List workers, and drain one.

    Example: llava-jobs workers drain gpu-1-4711-a1b2c3
    """


@workers.command("list")
@data_dir_option
def list_workers(data_dir: Path) -> None:
    """List the live workers of all models.

    Example: llava-jobs workers list
    """
    rows: list[tuple[str, ...]] = [("worker", "model", "state", "slots used", "heartbeat")]
    with _opened(data_dir) as (operations, signals):
        models = signals.read().models
        live = [(model, worker) for model, told in models.items() for worker in told.workers]
        drains = operations.drains.of([worker.name for _, worker in live])
    for model, worker in live:
        state = "ready"
        if worker.name in drains:
            state = "draining" if worker.slots_used else "drained"
        used = f"{worker.slots_used}/{worker.slots}"
        rows.append((worker.name, model, state, used, f"{worker.heartbeat_age_s:.0f} s ago"))
    print_table(rows, click.echo)


@workers.command("drain")
@click.argument("worker")
@click.option("--hand-back", is_flag=True, help="Hand its jobs back rather than finish them.")
@data_dir_option
def drain_worker(worker: str, hand_back: bool, data_dir: Path) -> None:
    """Give a worker no more jobs. WORKER is its name, as `workers list` shows it.

    Example: llava-jobs workers drain gpu-1-4711-a1b2c3
    """
    with _opened(data_dir) as (operations, _):
        operations.drains.drain(worker, Drain.HAND_BACK if hand_back else Drain.FINISH)
    click.echo(f"{worker} is given no more jobs; `workers list` says when it holds none")


@workers.command("resume")
@click.argument("worker")
@data_dir_option
def resume_worker(worker: str, data_dir: Path) -> None:
    """Give a drained worker jobs again.

    Example: llava-jobs workers resume gpu-1-4711-a1b2c3
    """
    with _opened(data_dir) as (operations, _):
        operations.drains.resume(worker)
    click.echo(f"{worker} is given jobs again")


@click.group()
def failures() -> None:
    """Count and list failed jobs by reason, and ask them again.

    Example: llava-jobs failures retry error
    """


@failures.command("count")
@data_dir_option
def count_failures(data_dir: Path) -> None:
    """Count the failed jobs that were not asked again.

    Example: llava-jobs failures count
    """
    with _opened(data_dir) as (operations, _):
        counts = operations.failures.counts()
    rows = [("reason", "jobs"), *((reason.value, str(count)) for reason, count in counts.items())]
    print_table(rows, click.echo)


@failures.command("list")
@_reason_argument
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@data_dir_option
def list_failures(reason: str, limit: int, data_dir: Path) -> None:
    """List the jobs that failed last for a reason.

    Example: llava-jobs failures list error --limit 100
    """
    with _opened(data_dir) as (operations, _):
        found = operations.failures.newest(Reason(reason), limit)
    rows = [("job", "tenant", "model", "code", "failed")]
    rows += [
        (one.id, one.tenant, one.model, one.code or "", _moment(one.finished_at)) for one in found
    ]
    print_table(rows, click.echo)


@failures.command("retry")
@_reason_argument
@data_dir_option
def retry_failures(reason: str, data_dir: Path) -> None:
    """Ask all jobs again that failed for a reason, each of them once.

    Example: llava-jobs failures retry expired
    """
    retried, kept, skip, left = 0, Counter[str](), 0, 1
    with _opened(data_dir) as (operations, _):
        while left:
            bulk = operations.retrying.retry_failed(Reason(reason), skip)
            retried, skip, left = retried + len(bulk.retried), bulk.skip, bulk.left
            kept.update(bulk.kept)
    click.echo(f"asked {retried} again")
    for code, count in kept.items():
        click.echo(f"left {count} as they are: {code}")


@failures.command("retry-job")
@click.argument("job_id")
@data_dir_option
def retry_job(job_id: str, data_dir: Path) -> None:
    """Ask one failed or canceled job again, and print the id of the new one.

    Example: llava-jobs failures retry-job job_0123456789abcdef0123456789abcdef
    """
    with _opened(data_dir) as (operations, _):
        job = operations.retrying.retry_any(job_id)
    if job is None:
        raise NotFound("no job has this id, or it is no longer kept", code="job_not_found")
    click.echo(job.id)


@contextmanager
def _opened(data_dir: Path, *, at_rest: bool = False) -> Iterator[tuple[Operations, Signals]]:
    settings = read_settings(None)
    with opened_store(data_dir, at_rest=at_rest) as client:
        durability = inspect(client, settings.durability).durability
        ledger = Ledger(client, Limits.from_settings(settings), durability=durability)
        yield Operations.of(client, ledger, settings), Signals(client, settings.lease_ms)


def _moment(epoch_ms: int) -> str:
    moment = datetime.fromtimestamp(epoch_ms // 1000, UTC)
    return moment.isoformat().replace("+00:00", "Z")
