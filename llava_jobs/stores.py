"""The store that a command works on: the one that is set, or the embedded one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import redis
from pydantic import ValidationError

from jobs.durations import milliseconds
from jobs.errors import ConfigurationError
from jobs.settings import Settings
from jobs.store import connect
from llava_jobs.embedded import EmbeddedStore, running_url

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(click.get_app_dir("llava-jobs", force_posix=True)),
    show_default=True,
    help="Where the embedded store and the logs are kept.",
)


def seconds(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    """Read an option that is a duration such as 30s or 7d as whole seconds; 0 is none at all."""
    if value is None:
        return None
    try:
        return 0 if value == "0" else milliseconds(value) // 1000
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is {error}") from None


def read_settings(model: str | None) -> Settings:
    """Return the settings, with another model if one is named; raises ConfigurationError."""
    try:
        return Settings(model=model) if model else Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).upper()
        raise ConfigurationError(
            f"LLAVA_JOBS_{name}: {first['msg']}; `llava-jobs settings` lists what can be set"
        ) from None


@contextmanager
def opened_store(data_dir: Path) -> Iterator[redis.Redis]:
    """The store that is set, the embedded one that runs, or that one at rest."""
    given = read_settings(None).redis_url
    url = given.get_secret_value() if given else running_url(data_dir)
    if url:
        yield connect(url)
        return
    with EmbeddedStore(data_dir) as store:
        yield connect(store.url)
