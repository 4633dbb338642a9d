"""A worker is drained: it is given no job until it is told to go on."""

from typing import Any

import pytest

from jobs.drain import Drain, Drains
from jobs.errors import NotFound
from jobs.ledger import Ledger, Limits
from tests.ledgers import ANSWER, MODEL, Clock, claimed, status_of, submitted


@pytest.fixture
def drains(client: Any, ledger: Ledger) -> Drains:
    """The drains of a store with the workers w1 and w2."""
    for name in ("w1", "w2"):
        ledger.renew(name, MODEL, {}, {})
    return Drains(client, ledger.scripts)


def test_a_drained_worker_is_given_nothing_and_others_are(ledger: Ledger, drains: Drains) -> None:
    job_id = submitted(ledger)
    drains.drain("w1")
    assert ledger.claim(MODEL, "w1") is None
    assert claimed(ledger, "w2").job.id == job_id


def test_what_it_holds_it_keeps_and_finishes(ledger: Ledger, drains: Drains) -> None:
    job_id = submitted(ledger)
    claim = claimed(ledger)
    drains.drain("w1")
    renewal = ledger.renew("w1", MODEL, {}, {job_id: claim.fence})
    assert not renewal.lost | renewal.unwanted
    assert renewal.drain is Drain.FINISH
    assert ledger.finish(claim, ANSWER)
    assert status_of(ledger, job_id) == ("succeeded", None)


def test_a_worker_learns_from_its_renewal_that_it_is_drained_and_that_it_may_go_on(
    ledger: Ledger, drains: Drains
) -> None:
    drains.drain("w1", Drain.HAND_BACK)
    assert ledger.renew("w1", MODEL, {}, {}).drain is Drain.HAND_BACK
    assert ledger.renew("w2", MODEL, {}, {}).drain is None
    assert drains.of(["w1", "w2"]) == {"w1": Drain.HAND_BACK}
    drains.resume("w1")
    assert ledger.renew("w1", MODEL, {}, {}).drain is None
    submitted(ledger)
    claimed(ledger)


def test_a_suspect_goes_to_another_worker_than_the_drained_one_that_waits_for_it(
    ledger: Ledger, drains: Drains
) -> None:
    job_id = submitted(ledger)
    ledger.crash(claimed(ledger), "engine_failed")
    submitted(ledger)
    suspect = claimed(ledger)
    assert suspect.job.id == job_id
    ledger.crash(suspect, "engine_failed")
    drains.drain("w1")
    assert ledger.claim(MODEL, "w1") is None
    assert claimed(ledger, "w2").job.id == job_id


def test_only_a_live_worker_can_be_drained(drains: Drains) -> None:
    for tell in (drains.drain, drains.resume):
        with pytest.raises(NotFound) as refused:
            tell("w3")
        assert refused.value.code == "worker_not_found"
    assert drains.of([]) == {}


def test_a_drain_is_kept_while_its_worker_lives_and_no_longer(
    client: Any, ledger: Ledger, drains: Drains, clock: Clock
) -> None:
    drains.drain("w1")
    client.pexpire("lj:drain:w1", Limits().lease)
    ledger.renew("w1", MODEL, {}, {})
    assert client.pttl("lj:drain:w1") > 3_600_000
