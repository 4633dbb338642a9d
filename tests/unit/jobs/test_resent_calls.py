"""A call whose reply was lost is sent again by the client, and is told what it did before."""

import contextlib
from typing import Any

import pytest

from jobs.errors import Conflict
from jobs.ledger import Ledger
from jobs.scripts import PREFIX
from jobs.store import connect
from jobs.webhook_secrets import WebhookSecrets
from llava_jobs.embedded import EmbeddedStore
from tests.ledgers import Clock, submitted
from tests.unit.jobs.operations import OPERATIONS, Operation, Scripted, contents
from tests.unit.jobs.test_faults import LosesReplies

GIVEN_ANEW = {"claim", "deliver"}
"""Scripts that give something else the second time; what the first gave comes back by its lease."""
ONLY_LOGGED = {"finish", "release", "crash", "sweep", "write_lines", "delivered"}
"""Scripts whose reply says whether they changed anything, which changes nothing for anybody."""


def done(client: Any, operation: Operation, way: LosesReplies | None = None) -> tuple[Any, Any]:
    """What an operation replied on an empty store, and what that holds then."""
    client.flushall()
    clock = Clock()
    direct = Scripted(client, clock=clock)
    prepared = operation.prepare(direct, clock)
    if way is None:
        return operation.run(direct, prepared), contents(client)
    client.script_flush()
    with contextlib.closing(connect(way.url)) as through:
        return operation.run(Scripted(through, clock=clock), prepared), contents(client)


@pytest.mark.parametrize(
    "operation", [o for o in OPERATIONS if o.script not in GIVEN_ANEW], ids=str
)
def test_a_call_that_is_sent_again_replies_and_changes_what_it_would_have_the_first_time(
    store: EmbeddedStore, client: Any, operation: Operation
) -> None:
    heard = done(client, operation)
    # The first reply is that the server does not know the script.
    with contextlib.closing(LosesReplies(store, b"EVALSHA", skipped=1)) as way:
        again = done(client, operation, way)
        assert way.has_lost
    assert again[1] == heard[1]
    assert again[0] == heard[0] or operation.script in ONLY_LOGGED


def test_two_calls_that_are_alike_are_two_calls(ledger: Ledger) -> None:
    job_id = submitted(ledger)
    assert ledger.erase("acme", job_id)
    assert not ledger.erase("acme", job_id)


def test_what_a_call_did_is_remembered_for_as_long_as_it_may_be_sent_again(
    client: Any, ledger: Ledger
) -> None:
    ledger.erase("acme", submitted(ledger))
    [remembered] = client.keys(f"{PREFIX}call:*")
    assert 30_000 < client.pttl(remembered) <= 60_000


def test_a_rotation_that_is_sent_again_keeps_the_secret_before_it(
    store: EmbeddedStore, client: Any, clock: Clock
) -> None:
    heard = WebhookSecrets(client, clock)
    first = heard.create("acme")
    with contextlib.closing(LosesReplies(store, b"EVALSHA")) as way:
        with contextlib.closing(connect(way.url)) as through:
            second = WebhookSecrets(through, clock).rotate("acme")
        assert way.has_lost
    assert heard.valid("acme") == [second, first]


def test_a_secret_whose_making_is_sent_again_is_shown(
    store: EmbeddedStore, client: Any, clock: Clock
) -> None:
    heard = WebhookSecrets(client, clock)
    heard.create("other")  # so that the server knows the script
    with contextlib.closing(LosesReplies(store, b"EVALSHA")) as way:
        with contextlib.closing(connect(way.url)) as through:
            secret = WebhookSecrets(through, clock).create("acme")
        assert way.has_lost
    assert heard.valid("acme") == [secret]
    with pytest.raises(Conflict):
        heard.create("acme")
