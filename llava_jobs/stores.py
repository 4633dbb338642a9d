"""The store that a command works on: the one that is set, or the embedded one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypedDict
from urllib.parse import urlsplit

import click
import redis
from click.core import ParameterSource
from pydantic import ValidationError

from jobs.durations import milliseconds
from jobs.errors import ConfigurationError
from jobs.scripts import Durability
from jobs.settings import Settings
from jobs.store import connect, inspect
from llava_jobs.embedded import EmbeddedStore
from llava_jobs.folder import FolderInUse, await_url

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(click.get_app_dir("llava-jobs", force_posix=True)),
    envvar="LLAVA_JOBS_DATA_DIR",
    show_envvar=True,
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


class Promise(TypedDict):
    """How what is written is made durable, and on how many servers besides; see jobs.scripts."""

    durability: Durability
    replicas: int


def promise(store: redis.Redis) -> Promise:
    """Return what a store can keep of what is set; raises ConfigurationError, StoreUnavailable."""
    settings = read_settings(None)
    server = inspect(store, settings.durability)
    return Promise(durability=server.durability, replicas=settings.durable_replicas)


@contextmanager
def opened_store(data_dir: Path, *, at_rest: bool = False) -> Iterator[redis.Redis]:
    """The store that is set, or the embedded one that runs; standard error says which it is.

    With ``at_rest`` a folder that the caller named is opened where none runs. Raises
    ConfigurationError where there is no store, FolderInUse where one is not ready in time.
    """
    given = read_settings(None).redis_url
    if given:
        url = given.get_secret_value()
        _tell(f"{_without_password(url)} (LLAVA_JOBS_REDIS_URL)")
        with closing(connect(url)) as client:
            yield client
        return
    if at_rest and _is_named("data_dir"):
        owner = click.get_current_context().command_path
        with running_or_started(data_dir, owner) as client:
            yield client
        return
    running = await_url(data_dir)
    if not running:
        raise ConfigurationError(_not_running(data_dir, at_rest=at_rest))
    _tell(f"the running one of {data_dir}")
    with closing(connect(running)) as client:
        yield client


@contextmanager
def running_or_started(data_dir: Path, owner: str) -> Iterator[redis.Redis]:
    """The store that runs on a folder, or the folder's own, started for as long as this lasts.

    ``owner`` is told to whoever wants the folder meanwhile. Raises FolderInUse where another
    process holds the folder and its store is not ready in time.
    """
    while True:
        if running := await_url(data_dir):
            _tell(f"the running one of {data_dir}")
            with closing(connect(running)) as client:
                yield client
            return
        is_new = not data_dir.exists()
        store = EmbeddedStore(data_dir, owner=owner, is_shared=False)
        try:
            store.start(patience_s=0)
        except FolderInUse:
            continue  # another process was quicker
        break
    try:
        _tell(f"that of {data_dir}, {'a new folder' if is_new else 'where no server runs'}")
        with closing(connect(store.url)) as client:
            yield client
    finally:
        store.stop()


def _is_named(parameter: str) -> bool:
    """Whether the caller gave a parameter, on the command line or in the environment."""
    source = click.get_current_context().get_parameter_source(parameter)
    return source in {ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT}


def _not_running(data_dir: Path, *, at_rest: bool) -> str:
    too = "; a folder that is named so need not run" if at_rest else ""
    return (
        f"no llava-jobs runs on {data_dir}: start it with `llava-jobs up`, or name the data folder "
        f"of another with --data-dir or LLAVA_JOBS_DATA_DIR{too}"
    )


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def _tell(store: str) -> None:
    click.echo(f"store: {store}", err=True)
