"""`llava-jobs openapi`: the description of the HTTP API."""

from __future__ import annotations

import os
import subprocess
import sys

import click

from llava_jobs.child import own_imports


@click.command()
@click.option("--markdown", is_flag=True, help="Print the reference part of docs/api.md.")
def openapi(markdown: bool) -> None:
    """Print the description of the HTTP API as OpenAPI 3.1, as /openapi.json serves it.

    Example: llava-jobs openapi > openapi.json
    """
    # A program of its own, as the API is: this package loads no Flask.
    command = [sys.executable, "-m", "api.openapi", *(["--markdown"] if markdown else [])]
    environment = {**os.environ, **own_imports()}
    ran = subprocess.run(  # noqa: S603 - our own
        command, check=True, capture_output=True, text=True, env=environment
    )
    click.echo(ran.stdout, nl=False)
