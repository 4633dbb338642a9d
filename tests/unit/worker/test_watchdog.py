"""A worker that has stopped working and does not know it ends, and its jobs go on elsewhere."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from jobs.hints import Hints, celery_app
from jobs.image_store import ImageStore
from jobs.ledger import Ledger
from jobs.pieces import Pieces
from llava_jobs.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.ledgers import MODEL, claimed, status_of, submitted
from worker.engine import Request
from worker.leases import Leases
from worker.narrator import Narrator
from worker.tasks import Desk
from worker.watchdog import Patience, Watchdog


@dataclass
class Stalling:
    """An engine whose current step has taken so many seconds."""

    step_age: float = 0.0
    slots: int = 2

    def submit(self, request: Request) -> Any:
        """Never asked here."""
        raise NotImplementedError


@pytest.fixture
def hints(store: EmbeddedStore, client: Any) -> Iterator[Hints]:
    """Hints over the store."""
    app = celery_app(store.url)
    yield Hints(app, client)
    app.close()


@pytest.fixture
def ended() -> list[int]:
    """The statuses with which the process would have ended."""
    return []


@pytest.fixture
def engine() -> Stalling:
    """An engine that steps."""
    return Stalling()


@pytest.fixture
def leases(ledger: Ledger) -> Leases:
    """What the worker holds."""
    return Leases(ledger, MODEL, "w1", 60_000, dict)


@pytest.fixture
def desk(client: Any, ledger: Ledger, engine: Stalling, leases: Leases) -> Desk:
    """Where it claims."""
    narrator = Narrator(Pieces(client))
    return Desk(ledger, ImageStore(client), engine, leases, narrator, MODEL, "w1", lambda: None)


@pytest.fixture
def watchdog(
    *, ledger: Ledger, hints: Hints, ended: list[int], engine: Stalling, leases: Leases, desk: Desk
) -> Iterator[Watchdog]:
    """A watchdog that is patient with steps for a minute, and with claims not at all."""
    patience = Patience(step=60, claim=0, drain=0)
    dog = Watchdog(engine, desk, leases, ledger, hints, MODEL, patience, ended.append)
    yield dog
    dog.close()


def test_a_step_that_does_not_end_makes_its_jobs_suspects_at_once(
    ledger: Ledger, watchdog: Watchdog, engine: Stalling, leases: Leases, ended: list[int]
) -> None:
    job_id = submitted(ledger)
    leases.hold(claimed(ledger))
    engine.step_age = 61
    watchdog.start()
    eventually(lambda: ended, "the worker ends")
    assert set(ended) == {os.EX_SOFTWARE}
    assert status_of(ledger, job_id) == ("queued", None)
    assert ledger.queued(MODEL)["suspect"] == 1


def test_a_worker_that_claims_nothing_while_jobs_and_hints_wait_ends(
    ledger: Ledger, hints: Hints, watchdog: Watchdog, ended: list[int]
) -> None:
    submitted(ledger)
    hints.publish(MODEL)
    watchdog.start()
    eventually(lambda: ended, "the worker ends")
    assert set(ended) == {os.EX_SOFTWARE}


@pytest.mark.parametrize(
    "why", ["no job waits", "no hint waits", "no slot is free", "it is being drained"]
)
def test_a_worker_that_has_nothing_to_claim_goes_on(
    ledger: Ledger,
    hints: Hints,
    watchdog: Watchdog,
    engine: Stalling,
    desk: Desk,
    ended: list[int],
    why: str,
) -> None:
    if why != "no job waits":
        submitted(ledger)
    if why != "no hint waits":
        hints.publish(MODEL)
    if why == "no slot is free":
        engine.slots = 0
    if why == "it is being drained":
        desk.claims.rest(True)
    assert not watchdog.is_deaf()
    assert ended == []
