"""A job whose only caller is gone stops; one that somebody shares goes on."""

from jobs.ledger import Ledger
from tests.ledgers import ANSWER, asked, claimed, now, status_of, statuses, submitted

CANCELED = ("canceled", "canceled")


def test_a_queued_job_stops_at_once(ledger: Ledger) -> None:
    job_id = submitted(ledger)
    ledger.abandon("acme", job_id)
    assert status_of(ledger, job_id) == CANCELED


def test_a_running_job_is_stopped_through_its_worker(ledger: Ledger) -> None:
    job_id = submitted(ledger)
    claim = claimed(ledger)
    ledger.abandon("acme", job_id)
    assert job_id in ledger.renew("w1", claim.job.model, {}, {job_id: claim.fence}).unwanted


def test_a_job_that_others_follow_goes_on_for_them(ledger: Ledger) -> None:
    first, second = asked(ledger), asked(ledger)
    ledger.abandon("acme", first.id)
    assert now(ledger, first).cancel_requested_at is None
    ledger.finish(claimed(ledger), ANSWER)
    assert statuses(ledger, first, second) == [("succeeded", None)] * 2


def test_it_stops_with_the_last_that_followed(ledger: Ledger) -> None:
    first, second, third = asked(ledger), asked(ledger), asked(ledger)
    ledger.abandon("acme", second.id)
    assert statuses(ledger, first, second, third) == [
        ("queued", None),
        CANCELED,
        ("queued", None),
    ]
    ledger.abandon("acme", first.id)
    ledger.abandon("acme", third.id)
    assert statuses(ledger, first, second, third) == [CANCELED] * 3


def test_one_that_is_still_wanted_outlives_all_that_followed(ledger: Ledger) -> None:
    first, second = asked(ledger), asked(ledger)
    ledger.abandon("acme", second.id)
    assert statuses(ledger, first, second) == [("queued", None), CANCELED]


def test_a_job_that_can_be_asked_for_again_goes_on(ledger: Ledger) -> None:
    job_id = submitted(ledger, idempotency_key="k1")
    ledger.abandon("acme", job_id)
    assert status_of(ledger, job_id) == ("queued", None)


def test_nothing_happens_to_what_has_ended_or_is_anothers(ledger: Ledger) -> None:
    job_id = submitted(ledger)
    ledger.abandon("other", job_id)
    ledger.abandon("acme", "job_none")
    assert status_of(ledger, job_id) == ("queued", None)
    ledger.finish(claimed(ledger), ANSWER)
    ledger.abandon("acme", job_id)
    assert status_of(ledger, job_id) == ("succeeded", None)
