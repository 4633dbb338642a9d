"""The `llava-jobs` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import click
import httpx
from pydantic import SecretStr

from jobs.errors import ConfigurationError, JobsError
from jobs.settings import Settings
from llava_jobs.client import ApiError, Client, JobFailed
from llava_jobs.compact import compact
from llava_jobs.description import openapi
from llava_jobs.keys import keys
from llava_jobs.operating import failures, intake, workers
from llava_jobs.stores import data_dir_option, read_settings
from llava_jobs.tables import print_table
from llava_jobs.tenants import tenants
from llava_jobs.webhooks import deliver, webhooks

_PATIENCE_S = 3.0
"""Whoever asks from a terminal sits before it, and is told soon that no API answers."""


def say(text: str) -> None:
    """Print a line at once, also where standard output is a pipe."""
    click.echo(text)
    sys.stdout.flush()


def _with_scheme(_: click.Context, __: click.Parameter, url: str) -> str:
    """Read localhost:8000 as browsers and curl do."""
    return url if "://" in url else f"http://{url}"


url_option = click.option(
    "--url",
    callback=_with_scheme,
    default="http://127.0.0.1:8000",
    envvar="LLAVA_JOBS_URL",
    show_default=True,
    help="Root of the API.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="llava-jobs")
def cli() -> None:
    """Visual question answering with LLaVA 1.6 as a job server.

    Example: llava-jobs up, then: llava-jobs ask picture.png "What is the error code?"
    """


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, help="Port to listen on.")
@click.option("--workers", default=1, show_default=True, help="Workers, each with its own model.")
@click.option("--model", default=None, help="Model to serve: demo, a folder or a hub name.")
@data_dir_option
def up(host: str, port: int, workers: int, model: str | None, data_dir: Path) -> None:
    """Run store, API and workers until Ctrl-C.

    Example: llava-jobs up --port 8000 --workers 2
    """
    from llava_jobs.up import Plan, run

    settings = read_settings(model)
    run(Plan(host, port, data_dir, workers, settings), say)


@cli.command()
@click.argument("picture", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("question")
@url_option
@click.option("--timeout", default=300.0, show_default=True, help="Seconds to wait.")
def ask(picture: Path, question: str, url: str, timeout: float) -> None:
    """Ask a question about a picture and print the answer.

    The key comes from LLAVA_JOBS_API_KEY.

    Example: llava-jobs ask panel.png "What is the error code?"
    """
    if not question.strip():
        raise click.BadParameter("it is empty", param_hint="QUESTION")
    with Client(url, _key(), patience_s=_PATIENCE_S) as client:
        say(client.ask(picture, question, timeout))


@cli.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--question", help="Asked about each picture; a CSV's own questions go first.")
@click.option(
    "--in-flight",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Questions under way at a time.",
)
@url_option
def batch(source: Path, out: Path, question: str | None, in_flight: int, url: str) -> None:
    """Ask about the pictures of a folder, or of a CSV with the columns picture and question.

    OUT ends in .jsonl or .csv and grows as answers come. A picture without an answer gets a row
    that says why, and the exit status is 1. Run it again to resume: what has an answer is not asked
    again. The key comes from LLAVA_JOBS_API_KEY.

    Example: llava-jobs batch pictures/ answers.jsonl --question "What is the error code?"
    """
    from llava_jobs.batch import Answers, read_asks, run_batch

    asks, answers = read_asks(source, question), Answers(out)
    with Client(url, _key()) as client:
        asked, failed = run_batch(client, asks, answers, in_flight, progress=sys.stderr.isatty())
    say(f"{asked} asked, {asked - failed} answered, {len(asks) - asked} had answers: {out}")
    if failed:
        raise ConfigurationError(
            f"{failed} have no answer; {out} says why; run it again to ask these again"
        )


def _key() -> str:
    key = os.environ.get("LLAVA_JOBS_API_KEY", "")
    if not key:
        raise ConfigurationError(
            "no key: set LLAVA_JOBS_API_KEY to the key that `llava-jobs up` printed at its first "
            "start, or make one with `llava-jobs keys create`"
        )
    return key


@cli.command()
@click.option("--markdown", is_flag=True, help="Print docs/settings.md: defaults and meanings.")
def settings(markdown: bool) -> None:
    """Show every setting: name, value, default, meaning.

    Example: LLAVA_JOBS_SLOTS=64 llava-jobs settings
    """
    if markdown:
        say("# Settings\n\nEach is an environment variable.\n")
        say("| name | default | meaning |\n|---|---|---|")
        for name, field in Settings.model_fields.items():
            default = "" if field.default is None else f"`{field.default}`"
            say(f"| `LLAVA_JOBS_{name.upper()}` | {default} | {field.description} |")
        return
    current = read_settings(None)
    rows = [("name", "value", "default", "meaning")]
    for name, field in Settings.model_fields.items():
        value = getattr(current, name)
        shown = "(set, hidden)" if isinstance(value, SecretStr) else str(value)
        default = str(field.default)
        rows.append((f"LLAVA_JOBS_{name.upper()}", shown, default, field.description or ""))
    print_table(rows, say)


@cli.command()
def demo() -> None:
    """Answer the bundled pictures through the whole system and compare with the truth.

    Example: llava-jobs demo
    """
    from llava_jobs.demo import run_demo

    run_demo(say)


cli.add_command(compact)
cli.add_command(keys)
cli.add_command(tenants)
cli.add_command(deliver)
cli.add_command(openapi)
cli.add_command(webhooks)
for group in (intake, workers, failures):
    cli.add_command(group)


def main() -> None:
    """Run the command; every failure is one line that names what to do, and a status of 1."""
    _without_traceback(cli)


def _without_traceback(command: Callable[[], object]) -> None:
    try:
        command()
    except (JobsError, JobFailed, ApiError, TimeoutError) as error:
        message = str(error)
    except httpx.ConnectError:
        message = "no API answers at that URL; start one with `llava-jobs up`, or set --url"
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        message = f"--url is no URL of an API ({error}); it has the form http://host:port"
    except httpx.HTTPError as error:
        message = f"the API could not be reached: {type(error).__name__}; try again"
    except OSError as error:
        message = ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
    click.echo(f"llava-jobs: {message}", err=True)
    sys.exit(1)
