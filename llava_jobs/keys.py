"""`llava-jobs keys`: make, list, rotate and revoke API keys."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click
import redis

from jobs.keys import DEFAULT_SCOPES, DEFAULT_TENANT, Key, Keys, Scope
from llava_jobs.stores import data_dir_option, opened_store, promise, seconds
from llava_jobs.tables import print_table


@click.group()
def keys() -> None:
    """Make, list, rotate and revoke API keys.

    Example: llava-jobs keys create --tenant acme
    """


@keys.command("create")
@click.option(
    "--tenant", default=DEFAULT_TENANT, show_default=True, help="Whom the key belongs to."
)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    default=sorted(scope.value for scope in DEFAULT_SCOPES),
    show_default=True,
    help="What it may do; may be repeated.",
)
@click.option(
    "--expires-in", callback=seconds, help="How long it works, such as 90d; else for ever."
)
@data_dir_option
def create_key(
    tenant: str, scopes: tuple[str, ...], expires_in: int | None, data_dir: Path
) -> None:
    """Make a key and print it, the only time that it can be seen.

    Example: llava-jobs keys create --tenant acme --scope read --expires-in 90d
    """
    with opened_store(data_dir, at_rest=True) as store:
        made = _keys(store).create(
            tenant, scopes=[Scope(name) for name in scopes], expires_in_s=expires_in
        )
    click.echo(made)


@keys.command("list")
@data_dir_option
def list_keys(data_dir: Path) -> None:
    """List keys: of their secrets, the last four characters.

    Example: llava-jobs keys list
    """
    with opened_store(data_dir) as store:
        found = Keys(store).list()
    rows: list[tuple[str, ...]] = [
        ("id", "tenant", "scopes", "created", "expires", "ends in", "the one before")
    ]
    rows += [
        (
            key.id,
            key.tenant,
            ",".join(sorted(key.scopes)),
            _moment(key.created),
            _moment(key.expires) if key.expires is not None else "never",
            key.ending or "",
            _previous(key),
        )
        for key in found
    ]
    print_table(rows, click.echo)


@keys.command("rotate")
@click.argument("key_id")
@click.option(
    "--overlap",
    callback=seconds,
    default="24h",
    show_default=True,
    help="How long the secret before still works; 0: no longer.",
)
@data_dir_option
def rotate_key(key_id: str, overlap: int, data_dir: Path) -> None:
    """Give a key a new secret and print it, the only time that it can be seen.

    KEY_ID is the key's middle part, as `keys list` shows it.

    Example: llava-jobs keys rotate 1f2e3d4c5b6a --overlap 7d
    """
    with opened_store(data_dir, at_rest=True) as store:
        made = _keys(store).rotate(key_id, overlap)
    click.echo(made)


@keys.command("revoke")
@click.argument("key_id")
@data_dir_option
def revoke_key(key_id: str, data_dir: Path) -> None:
    """Make a key unknown at once. KEY_ID is its middle part, as `keys list` shows it.

    Example: llava-jobs keys revoke 1f2e3d4c5b6a
    """
    with opened_store(data_dir, at_rest=True) as store:
        _keys(store).revoke(key_id)
    click.echo(f"revoked {key_id}")


def _keys(store: redis.Redis) -> Keys:
    return Keys(store, **promise(store))


def _previous(key: Key) -> str:
    if key.previous_until is None:
        return ""
    return f"{key.previous_ending or '?'} until {_moment(key.previous_until)}"


def _moment(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).isoformat().replace("+00:00", "Z")
