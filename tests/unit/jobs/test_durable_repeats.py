"""A repeated call is answered only once what it tells of is on disk, whoever made it first."""

from collections.abc import Iterator
from typing import Any

import pytest

from jobs.errors import StoreUnavailable
from jobs.ledger import Ledger, Limits
from jobs.scripts import Scripts
from jobs.store import connect
from llava_jobs.embedded import EmbeddedStore
from tests.ledgers import draft, the_same

PATIENCE_MS = 50


@pytest.fixture
def unsynced(client: Any) -> Iterator[Any]:
    """A store that syncs nothing to disk, so that nothing new is confirmed."""
    client.config_set("appendfsync", "no")
    yield client
    client.config_set("appendfsync", "everysec")


@pytest.fixture
def other(store: EmbeddedStore) -> Iterator[Any]:
    """Another process's connection, which has written nothing yet."""
    connection = connect(store.url)
    yield connection
    connection.close()


def test_a_replayed_request_is_as_durable_as_the_first(unsynced: Any, other: Any) -> None:
    asked = the_same(idempotency_key="k")
    for connection in (unsynced, other):
        with pytest.raises(StoreUnavailable):
            Ledger(connection, Limits(durability_timeout=PATIENCE_MS)).submit(asked)
    unsynced.config_set("appendfsync", "everysec")
    assert Ledger(other).submit(the_same(idempotency_key="k"))[1]


def test_a_submission_that_the_client_sends_again_is_as_durable(unsynced: Any, other: Any) -> None:
    asked = draft()
    for connection in (unsynced, other):
        with pytest.raises(StoreUnavailable):
            Ledger(connection, Limits(durability_timeout=PATIENCE_MS)).submit(asked)


@pytest.mark.parametrize(
    "call",
    [
        ("cancel", "job_x", "acme"),
        ("erase", "job_x", "acme"),
        ("discard", "acme", "img_x"),
        ("intake", "acme", "resume"),
        ("erase_file", "acme", "file_x"),
        ("erase_batch", "batch_x", "acme"),
        ("stop_batch", "batch_x", "acme", "cancelled"),
        ("move_batch", "batch_x", "settled", 0, ""),
        ("revoke_key", "a" * 12),
        ("rotate", "a" * 12, "digest", "last", 0),
        ("set_limits", "acme", "queued_jobs", 7),
        ("rotate_secret", "acme", "secret", 0, 1),
    ],
    ids=lambda call: str(call[0]),
)
def test_a_call_that_changes_nothing_waits_for_what_another_connection_wrote(
    unsynced: Any, other: Any, call: tuple[str, *tuple[str | int, ...]]
) -> None:
    unsynced.hset("lj:webhook-secret:acme", "current", "secret")
    with pytest.raises(StoreUnavailable):
        Scripts(other, durability_timeout=PATIENCE_MS).run(*call, durable=True)
