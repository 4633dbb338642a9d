"""How jobs end without an answer, come back for another try, and are forgotten."""

from typing import Any

import pytest

from jobs.image_store import ImageStore
from jobs.job import Outcome, Reason, Status
from jobs.ledger import Ledger, Limits
from jobs.request import ImagePart
from jobs.scripts import PREFIX
from jobs.sweep import Sweep
from tests.conftest import NewLedger
from tests.eventually import eventually
from tests.ledgers import (
    ANSWER,
    FAILURE,
    MODEL,
    Clock,
    assert_counts_are_true,
    claimed,
    draft,
    events,
    everything,
    status_of,
    submitted,
)

COUNTERS = {"durable", "fence", "seq", "swept", "turn", "models", "queued-total", "pace:demo"}
COUNTERS |= {"claimed", "ended", "forgotten:acme", f"credits:{MODEL}", f"queued:{MODEL}"}


def test_handing_back_charges_no_try(new_ledger: NewLedger) -> None:
    ledger = new_ledger(attempts=2)
    job_id = submitted(ledger)
    for _ in range(10):
        assert ledger.hand_back(claimed(ledger))
    ledger.retry(claimed(ledger), 0, FAILURE)
    assert status_of(ledger, job_id) == ("queued", None)


def test_handing_back_ends_the_attempt_at_once(ledger: Ledger, clock: Clock) -> None:
    job_id = submitted(ledger)
    claim = claimed(ledger)
    clock.forward(10)

    ledger.hand_back(claim)

    job = ledger.get("acme", job_id)
    assert job is not None
    assert (job.attempts[0].ended_at, job.attempts[0].outcome) == (clock.now, "handed_back")
    assert ledger.sweep().leases_expired == 0


def test_a_retry_waits_out_its_delay(client: Any, ledger: Ledger, clock: Clock) -> None:
    job_id = submitted(ledger)
    ledger.retry(claimed(ledger), 5_000, FAILURE)
    assert status_of(ledger, job_id) == ("queued", None)
    assert_counts_are_true(client, ledger)

    clock.forward(4_999)
    assert ledger.sweep().promoted == 0
    assert ledger.claim(MODEL, "w1") is None
    clock.forward(1)
    assert ledger.sweep().promoted == 1

    assert_counts_are_true(client, ledger)
    claim = claimed(ledger)
    assert [attempt.outcome for attempt in claim.job.attempts] == ["retried", None]


def test_a_delayed_retry_is_no_hint_for_a_worker_yet(ledger: Ledger) -> None:
    submitted(ledger)
    ledger.retry(claimed(ledger), 5_000, FAILURE)
    assert sum(ledger.queued(MODEL).values()) == 0


def test_a_delayed_retry_still_counts_against_its_tenants_queue(new_ledger: NewLedger) -> None:
    ledger = new_ledger(tenant_queue=1)
    submitted(ledger)
    ledger.retry(claimed(ledger), 5_000, FAILURE)
    with pytest.raises(Exception, match="waiting"):
        submitted(ledger)


def test_a_retried_job_keeps_its_place(ledger: Ledger, clock: Clock) -> None:
    jobs = [submitted(ledger) for _ in range(3)]
    ledger.retry(claimed(ledger), 100, FAILURE)
    clock.forward(100)
    ledger.sweep()
    assert [claimed(ledger).job.id for _ in range(3)] == jobs


def test_when_its_tries_are_used_up_a_job_fails_with_the_last_error(
    client: Any, new_ledger: NewLedger
) -> None:
    ledger = new_ledger(attempts=3)
    job_id = submitted(ledger)
    for _ in range(2):
        ledger.retry(claimed(ledger), 0, {"code": "other", "message": "another"})
    assert status_of(ledger, job_id) == ("queued", None)

    ledger.retry(claimed(ledger), 0, FAILURE)

    job = ledger.get("acme", job_id)
    assert job is not None
    assert (job.status, job.reason, job.error) == (Status.FAILED, Reason.ERROR, FAILURE)
    assert len(job.attempts) == 3
    assert_counts_are_true(client, ledger)


def test_a_queued_job_past_its_deadline_fails(client: Any, ledger: Ledger, clock: Clock) -> None:
    job_id = submitted(ledger, deadline_ms=1_000)
    clock.forward(999)
    assert ledger.sweep().ended == 0
    clock.forward(1)
    assert ledger.sweep().ended == 1
    assert status_of(ledger, job_id) == ("failed", "deadline")
    assert_counts_are_true(client, ledger)


def test_a_running_job_past_its_deadline_fails_and_its_worker_is_told(
    client: Any, ledger: Ledger, clock: Clock
) -> None:
    job_id = submitted(ledger, deadline_ms=1_000)
    claim = claimed(ledger)
    clock.forward(1_000)

    ledger.sweep()

    assert status_of(ledger, job_id) == ("failed", "deadline")
    assert ledger.renew("w1", MODEL, {}, {job_id: claim.fence}).lost == {job_id}
    assert not ledger.finish(claim, ANSWER)
    assert_counts_are_true(client, ledger)


def test_a_delayed_retry_past_its_deadline_fails(client: Any, ledger: Ledger, clock: Clock) -> None:
    job_id = submitted(ledger, deadline_ms=1_000)
    ledger.retry(claimed(ledger), 5_000, FAILURE)
    clock.forward(1_000)
    ledger.sweep()
    assert status_of(ledger, job_id) == ("failed", "deadline")
    assert_counts_are_true(client, ledger)


def test_a_suspect_past_its_deadline_is_not_claimed(ledger: Ledger, clock: Clock) -> None:
    job_id = submitted(ledger, deadline_ms=40_000)
    claimed(ledger, "dead")
    clock.forward(30_000)
    ledger.sweep()
    clock.forward(10_000)
    assert ledger.claim(MODEL, "w1") is None
    assert status_of(ledger, job_id) == ("failed", "deadline")


def test_a_job_that_outlives_the_queue_has_expired(new_ledger: NewLedger, clock: Clock) -> None:
    ledger = new_ledger(queue_lifetime=60_000)
    job_id = submitted(ledger)
    clock.forward(60_000)
    ledger.sweep()
    assert status_of(ledger, job_id) == ("failed", "expired")


def test_a_queued_job_is_canceled_at_once(client: Any, ledger: Ledger, clock: Clock) -> None:
    job_id = submitted(ledger)

    job = ledger.cancel("acme", job_id)

    assert job is not None
    assert (job.status, job.reason) == (Status.CANCELED, Reason.CANCELED)
    assert (job.cancel_requested_at, job.compute_stopped_at) == (clock.now, clock.now)
    assert job.finished_at == clock.now
    assert_counts_are_true(client, ledger)


def test_a_delayed_retry_and_a_suspect_are_canceled_at_once(
    client: Any, ledger: Ledger, clock: Clock
) -> None:
    delayed, suspect = submitted(ledger), submitted(ledger)
    ledger.retry(claimed(ledger), 90_000, FAILURE)
    claimed(ledger, "dead")
    clock.forward(30_000)
    ledger.sweep()
    for job_id in (delayed, suspect):
        ledger.cancel("acme", job_id)
        assert status_of(ledger, job_id) == ("canceled", "canceled")
    assert_counts_are_true(client, ledger)


def test_a_running_job_is_canceled_through_its_worker_and_carries_the_receipt(
    ledger: Ledger, clock: Clock
) -> None:
    job_id = submitted(ledger)
    claim = claimed(ledger)
    clock.forward(10)
    requested = clock.now

    job = ledger.cancel("acme", job_id)
    assert job is not None
    assert (job.status, job.cancel_requested_at) == (Status.PROCESSING, requested)
    assert ledger.renew("w1", MODEL, {}, {job_id: claim.fence}).unwanted == {job_id}
    clock.forward(40)
    receipt = {"tokens_after_request": 2}
    assert ledger.finish(claim, Outcome(Status.CANCELED, Reason.CANCELED, receipt=receipt))

    job = ledger.get("acme", job_id)
    assert job is not None
    assert (job.status, job.reason, job.receipt) == (Status.CANCELED, Reason.CANCELED, receipt)
    assert (job.cancel_requested_at, job.compute_stopped_at) == (requested, clock.now)


def test_a_second_request_to_cancel_changes_nothing(ledger: Ledger, clock: Clock) -> None:
    job_id = submitted(ledger)
    claimed(ledger)
    first = ledger.cancel("acme", job_id)
    clock.forward(10)
    assert ledger.cancel("acme", job_id) == first


def test_a_finished_job_cannot_be_canceled(client: Any, ledger: Ledger) -> None:
    job_id = submitted(ledger)
    ledger.finish(claimed(ledger), ANSWER)
    before = everything(client)
    ledger.cancel("acme", job_id)
    assert everything(client) == before


def test_another_tenants_job_cannot_be_canceled(client: Any, ledger: Ledger) -> None:
    job_id = submitted(ledger)
    before = everything(client)
    assert ledger.cancel("other", job_id) is None
    assert everything(client) == before


@pytest.mark.parametrize("way", ["handed back", "retried at once", "retried later", "crashed"])
def test_a_running_job_that_was_canceled_is_never_run_again(
    client: Any, ledger: Ledger, clock: Clock, way: str
) -> None:
    job_id = submitted(ledger)
    claim = claimed(ledger)
    ledger.cancel("acme", job_id)
    if way == "handed back":
        ledger.hand_back(claim)
    elif way == "crashed":
        clock.forward(30_000)
    else:
        ledger.retry(claim, 0 if way == "retried at once" else 1_000, FAILURE)
    clock.forward(1_000)
    ledger.sweep()

    assert ledger.claim(MODEL, "w1") is None
    assert status_of(ledger, job_id) == ("canceled", "canceled")
    assert_counts_are_true(client, ledger)


def test_a_finished_job_is_kept_for_its_retention_and_then_forgotten(
    new_ledger: NewLedger, clock: Clock
) -> None:
    ledger = new_ledger(retention=60_000)
    job_id = submitted(ledger)
    ledger.finish(claimed(ledger), ANSWER)

    clock.forward(59_999)
    assert ledger.sweep().forgotten == 0
    assert ledger.get("acme", job_id)
    clock.forward(1)
    assert ledger.sweep().forgotten == 1
    assert ledger.get("acme", job_id) is None


def live_out(client: Any) -> None:
    """Submit a job with everything, by the store's own clock, and wait until it is forgotten."""
    ledger = Ledger(client, Limits(retention=50))
    ImageStore(client).put("acme", "d" * 64, b"pixels")
    asked = draft(
        images=(ImagePart("d" * 64, 64, 48),), group="ticket-1", idempotency_key="k", metadata={}
    )
    ledger.submit(asked)
    ledger.finish(claimed(ledger), ANSWER)
    submitted(Ledger(client, Limits(queue_lifetime=1, retention=50)))
    eventually(lambda: ledger.sweep().ended, "the job that nobody claims expires")
    eventually(
        lambda: ledger.sweep() and not [*client.scan_iter(f"{PREFIX}job:*")], "both are forgotten"
    )
    assert not [*client.scan_iter(f"{PREFIX}image:*")], "the picture goes with its last job"


def left_over(client: Any) -> set[str]:
    """The keys of the store that are no counters, nor gone by themselves as those of a minute."""
    kept = [key for key in client.scan_iter() if not key.startswith(f"{PREFIX}minute:".encode())]
    return {key.decode().removeprefix(PREFIX) for key in kept} - COUNTERS


def test_of_a_forgotten_job_no_key_stays_but_counters(client: Any) -> None:
    live_out(client)
    assert left_over(client) == set()


def test_a_sweep_is_bounded_and_the_next_goes_on(ledger: Ledger, clock: Clock) -> None:
    for _ in range(5):
        submitted(ledger, deadline_ms=1)
    clock.forward(1)
    assert [ledger.sweep(at_most=2).ended for _ in range(4)] == [2, 2, 1, 0]


def test_every_change_of_state_is_told_in_order(
    client: Any, new_ledger: NewLedger, clock: Clock
) -> None:
    ledger = new_ledger(crashes=1)
    answered = submitted(ledger)
    ledger.hand_back(claimed(ledger))
    ledger.finish(claimed(ledger), ANSWER)
    canceled = submitted(ledger)
    ledger.cancel("acme", canceled)
    poison = submitted(ledger)
    claimed(ledger)
    clock.forward(30_000)
    ledger.sweep()
    late = submitted(ledger, deadline_ms=1)
    clock.forward(1)
    ledger.sweep()

    assert events(client) == [
        (answered, "queued", ""),
        (answered, "processing", ""),
        (answered, "queued", ""),
        (answered, "processing", ""),
        (answered, "succeeded", ""),
        (canceled, "queued", ""),
        (canceled, "canceled", "canceled"),
        (poison, "queued", ""),
        (poison, "processing", ""),
        (poison, "failed", "poison"),
        (late, "queued", ""),
        (late, "failed", "deadline"),
    ]


def test_events_are_told_to_the_jobs_tenant_alone(client: Any, ledger: Ledger) -> None:
    mine, theirs = submitted(ledger, "acme"), submitted(ledger, "other")
    assert [job_id for job_id, _, _ in events(client, "acme")] == [mine]
    assert [job_id for job_id, _, _ in events(client, "other")] == [theirs]


def test_a_sweeper_leads_until_its_lead_lapses(ledger: Ledger) -> None:
    def leads(name: str, ms: int = 60_000) -> bool:
        return ledger.sweep(sweeper=name, lead_ms=ms).leads

    assert leads("first")
    assert not leads("second")
    assert leads("first", 1)
    eventually(lambda: leads("second"), "the lead lapses")
    assert not leads("first")


def test_who_does_not_lead_changes_nothing(ledger: Ledger, clock: Clock) -> None:
    submitted(ledger, deadline_ms=1)
    ledger.sweep(sweeper="first", lead_ms=60_000)
    clock.forward(1)
    assert ledger.sweep(sweeper="second", lead_ms=60_000) == Sweep(leads=False)
    assert ledger.sweep(sweeper="first", lead_ms=60_000).ended == 1
