"""`llava-jobs compact`: what was erased is on the store's disk no longer."""

from __future__ import annotations

from pathlib import Path

import click

from jobs import compaction
from llava_jobs.stores import data_dir_option, opened_store, seconds


@click.command()
@click.option("--within", default="10m", callback=seconds, help="How long that may take.")
@data_dir_option
def compact(within: int, data_dir: Path) -> None:
    """Write the store's append-only file anew, without what was erased.

    An erased job is out of the store at once, and out of its file with the next time that this is
    done; the store also does it by itself as the file grows. Copies and backups are yours to erase.

    Example: llava-jobs compact
    """
    with opened_store(data_dir, at_rest=True) as store:
        compaction.compact(store, within)
    click.echo("what was erased is in the store's file no more")
