"""The leases of one worker: renewed by claim, and told why to stop."""

from collections.abc import Iterator
from typing import Any

import pytest

from jobs.drain import Drain, Drains
from jobs.ledger import Ledger
from jobs.scripts import PREFIX
from tests.eventually import eventually
from tests.ledgers import MODEL, Clock, claimed, submitted
from worker.leases import Leases, Stop


@pytest.fixture
def leases(ledger: Ledger) -> Iterator[Leases]:
    """The leases of a worker that renews quickly."""
    made = Leases(ledger, MODEL, "w1", 20, dict)
    made.start()
    yield made
    made.close()


def test_a_worker_is_known_while_it_has_leases(ledger: Ledger) -> None:
    made = Leases(ledger, MODEL, "w1", 20, lambda: {"slots": 3})
    made.start()
    assert ledger.workers(MODEL) == {"w1": {"slots": 3}}
    made.close()
    assert ledger.workers(MODEL) == {}


def test_a_canceled_job_is_told_to_stop(ledger: Ledger, leases: Leases) -> None:
    job_id = submitted(ledger)
    claim = claimed(ledger)
    leases.hold(claim)
    halted: list[str] = []
    leases.on_stop(claim, lambda: halted.append(job_id))
    ledger.cancel("acme", job_id)
    eventually(lambda: halted, "the next renewal tells")
    assert leases.why_stopped(claim) is Stop.UNWANTED


def test_a_claim_that_was_told_to_stop_before_it_ran_stops_at_once(
    ledger: Ledger, leases: Leases
) -> None:
    submitted(ledger)
    claim = claimed(ledger)
    leases.hold(claim)
    leases.stop_all(Stop.DRAIN)
    halted: list[bool] = []
    leases.on_stop(claim, lambda: halted.append(True))
    assert halted == [True]


def test_a_job_claimed_anew_by_the_worker_that_lost_it_is_another_claim(
    client: Any, ledger: Ledger, clock: Clock, leases: Leases
) -> None:
    submitted(ledger)
    lost = claimed(ledger)
    leases.hold(lost)
    ledger.hand_back(lost)  # as the sweeper does with a worker that was silent for too long
    anew = claimed(ledger)
    leases.hold(anew)
    eventually(lambda: leases.why_stopped(lost) is Stop.LOST, "the old claim is told to stop")
    assert leases.why_stopped(anew) is None

    leases.drop(lost)

    def renewed() -> bool:
        return bool(client.zscore(f"{PREFIX}leases", anew.job.id) == clock.now + 30_000)

    for _ in range(3):
        clock.forward(25_000)
        eventually(renewed, "the new claim is renewed")
    assert ledger.sweep().leases_expired == 0
    leases.drop(anew)
    assert leases.wait_empty(0)


def test_a_drained_worker_is_told_and_says_so_until_it_is_resumed(
    client: Any, ledger: Ledger
) -> None:
    told: list[bool] = []
    made = Leases(ledger, MODEL, "w1", 20, dict, on_drain=told.append)
    made.start()
    drains = Drains(client, ledger.scripts)
    assert told == [False]
    drains.drain("w1")
    eventually(lambda: told[-1], "a renewal tells")
    eventually(lambda: ledger.workers(MODEL)["w1"].get("drained"), "it says so")
    drains.resume("w1")
    eventually(lambda: not told[-1], "a renewal tells")
    eventually(lambda: not ledger.workers(MODEL)["w1"].get("drained"), "it says so")
    made.close()


def test_a_worker_that_is_to_hand_back_stops_its_jobs(
    client: Any, ledger: Ledger, leases: Leases
) -> None:
    submitted(ledger)
    claim = claimed(ledger)
    leases.hold(claim)
    halted: list[bool] = []
    leases.on_stop(claim, lambda: halted.append(True))
    drains = Drains(client, ledger.scripts)
    drains.drain("w1")
    drains.drain("w1", Drain.HAND_BACK)
    eventually(lambda: halted, "the next renewal tells")
    assert leases.why_stopped(claim) is Stop.DRAIN
