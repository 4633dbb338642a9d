"""`llava-jobs tenants`: what each tenant may do beside the installation's own limits."""

from __future__ import annotations

from pathlib import Path

import click

from jobs.keys import LONGEST_S, Keys, tenant_names
from jobs.tenants import TenantLimits, Tenants
from llava_jobs.stores import data_dir_option, opened_store, promise, seconds
from llava_jobs.tables import print_table


@click.group()
def tenants() -> None:
    """List tenants and set their limits.

    Example: llava-jobs tenants limit acme --queued-jobs 500
    """


@tenants.command("list")
@data_dir_option
def list_tenants(data_dir: Path) -> None:
    """List the tenants that have keys or limits; an empty cell is the installation's limit.

    Example: llava-jobs tenants list
    """
    rows: list[tuple[str, ...]] = [
        ("tenant", "waiting", "queued jobs", "requests/min", "retention s", "image bytes")
    ]
    with opened_store(data_dir) as store:
        known = Tenants(store)
        for name in tenant_names(Keys(store), known):
            limits = vars(known.limits(name)).values()
            shown = ("" if limit is None else str(limit) for limit in limits)
            rows.append((name, str(known.queued(name)), *shown))
    print_table(rows, click.echo)


@tenants.command("limit")
@click.argument("tenant")
@click.option("--queued-jobs", type=click.IntRange(0), help="Jobs that may wait.")
@click.option("--requests-per-minute", type=click.IntRange(1), help="Requests to the API.")
@click.option("--retention", callback=seconds, help="How long ended jobs are kept, such as 7d.")
@click.option("--image-bytes", type=click.IntRange(0), help="Bytes that its pictures may have.")
@data_dir_option
def limit_tenant(
    tenant: str,
    queued_jobs: int | None,
    requests_per_minute: int | None,
    retention: int | None,
    image_bytes: int | None,
    data_dir: Path,
) -> None:
    """Set all of a tenant's own limits; what is left out is the installation's again.

    Example: llava-jobs tenants limit acme --queued-jobs 500 --retention 7d
    """
    if retention is not None and not 1 <= retention <= LONGEST_S:
        raise click.BadParameter(f"from 1s to {LONGEST_S // 86_400}d", param_hint="--retention")
    with opened_store(data_dir, at_rest=True) as store:
        Tenants(store, **promise(store)).set_limits(
            tenant, TenantLimits(queued_jobs, requests_per_minute, retention, image_bytes)
        )
    click.echo(f"set the limits of {tenant}")
