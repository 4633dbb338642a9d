"""A worker is taken for deaf when work passes it by for long, and for nothing less."""

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from jobs.errors import StoreUnavailable
from jobs.hints import Hints, celery_app
from jobs.image_store import ImageStore
from jobs.ledger import Ledger
from jobs.pieces import Pieces
from jobs.store import connect
from llava_jobs.embedded import EmbeddedStore
from tests.ledgers import MODEL, submitted
from worker.engine.requests import Request
from worker.engine.serving import Handle
from worker.leases import Leases
from worker.narrator import Narrator
from worker.tasks import Desk
from worker.watchdog import Patience, Watchdog

AN_HOUR = 3600.0


class Stepping:
    """An engine that steps, with room for two jobs."""

    step_age = 0.0
    slots = 2

    def submit(self, request: Request) -> Handle:  # noqa: ARG002
        """Is not called."""
        raise AssertionError("nothing is claimed here")


@pytest.fixture
def hints(store: EmbeddedStore, client: Any) -> Iterator[Hints]:
    """Hints over the store."""
    made = Hints(celery_app(store.url), client)
    yield made
    made.close()


def idle_for_an_hour(client: Any, ledger: Ledger, hints: Hints, patience_s: float) -> Watchdog:
    """The watchdog of a worker that has had nothing to do for an hour."""
    leases = Leases(ledger, MODEL, "w1", 60_000, dict)
    engine = Stepping()
    narrator = Narrator(Pieces(client))
    desk = Desk(ledger, ImageStore(client), engine, leases, narrator, MODEL, "w1", lambda: None)
    desk.claims.last = time.monotonic() - AN_HOUR
    patience = Patience(step=60, claim=patience_s, drain=0)
    return Watchdog(engine, desk, leases, ledger, hints, MODEL, patience)


def test_an_idle_worker_is_not_deaf_in_the_moment_before_it_claims_the_next_job(
    client: Any, ledger: Ledger, hints: Hints
) -> None:
    watchdog = idle_for_an_hour(client, ledger, hints, 30)
    submitted(ledger)
    hints.publish(MODEL)
    assert not watchdog.is_deaf()


def test_it_is_once_work_has_passed_it_by_for_longer_than_its_patience(
    client: Any, ledger: Ledger, hints: Hints
) -> None:
    watchdog = idle_for_an_hour(client, ledger, hints, 0)
    submitted(ledger)
    hints.publish(MODEL)
    assert watchdog.is_deaf()


def test_a_store_that_goes_away_between_two_looks_is_told_as_such_and_the_thread_lives(
    client: Any, ledger: Ledger
) -> None:
    submitted(ledger)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{nobody.getsockname()[1]}/0"
        away = connect(url)
        watchdog = idle_for_an_hour(client, ledger, Hints(celery_app(url), away), 0)
        with pytest.raises(StoreUnavailable):
            watchdog.is_deaf()
        away.close()
