"""A worker that is being drained keeps the hints that it is given, and goes on with them."""

import threading
from typing import Any

import pytest

from jobs.drain import Drains
from jobs.image_store import ImageStore
from jobs.ledger import Ledger
from jobs.pieces import Pieces
from tests.eventually import PATIENCE_S, eventually
from tests.ledgers import MODEL, status_of, submitted
from worker.engine import EngineClosed
from worker.engine.requests import Request
from worker.engine.serving import Handle
from worker.leases import Leases
from worker.narrator import Narrator
from worker.tasks import Desk


class Closing:
    """An engine that takes no request, so that every job goes back."""

    asked = 0

    def submit(self, request: Request) -> Handle:
        """Refuse."""
        del request
        self.asked += 1
        raise EngineClosed("closed")


@pytest.fixture
def engine() -> Closing:
    """Such an engine."""
    return Closing()


@pytest.fixture
def desk(client: Any, ledger: Ledger, engine: Closing) -> Desk:
    """The desk of worker w1."""
    leases = Leases(ledger, MODEL, "w1", 60_000, dict)
    narrator = Narrator(Pieces(client))
    return Desk(*(ledger, ImageStore(client), engine, leases, narrator, MODEL, "w1"), lambda: None)


def answering(desk: Desk) -> threading.Thread:
    """A thread that was given a hint."""
    thread = threading.Thread(target=desk.answer_next)
    thread.start()
    return thread


def test_a_resting_worker_claims_nothing_and_goes_on_with_the_hints_that_came(
    ledger: Ledger, desk: Desk, engine: Closing
) -> None:
    submitted(ledger)
    desk.claims.rest(True)
    assert not desk.claims.may_claim
    thread = answering(desk)
    thread.join(0.05)
    assert thread.is_alive()
    desk.claims.rest(False)
    thread.join(PATIENCE_S)
    assert (desk.claims.may_claim, engine.asked) == (True, 1)


def test_a_resting_worker_that_stops_lets_its_hints_go(
    ledger: Ledger, desk: Desk, engine: Closing
) -> None:
    job_id = submitted(ledger)
    desk.claims.rest(True)
    thread = answering(desk)
    desk.claims.stop()
    desk.claims.rest(True)
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert engine.asked == 0
    assert status_of(ledger, job_id) == ("queued", None)


def test_a_claim_between_the_drain_and_its_being_told_finds_nothing(
    client: Any, ledger: Ledger, desk: Desk, engine: Closing
) -> None:
    job_id = submitted(ledger)
    ledger.renew("w1", MODEL, {}, {})
    Drains(client, ledger.scripts).drain("w1")
    desk.answer_next()
    assert engine.asked == 0
    assert status_of(ledger, job_id) == ("queued", None)
    eventually(lambda: ledger.claim(MODEL, "w2"), "another worker has it")
