"""Who may change a running job, and what happens when its worker falls silent."""

from typing import Any

import pytest

from jobs.job import Outcome, Reason, Status
from jobs.ledger import Ledger
from jobs.pieces import Piece, Pieces
from tests.conftest import NewLedger
from tests.ledgers import (
    ANSWER,
    FAILURE,
    MODEL,
    Clock,
    assert_counts_are_true,
    claimed,
    everything,
    status_of,
    submitted,
)

LEASE = 30_000


def crash(ledger: Ledger, clock: Clock) -> None:
    """Let every lease run out that nobody renews, and have the sweeper see it."""
    clock.forward(LEASE)
    ledger.sweep()


def test_the_holder_ends_its_job_once(ledger: Ledger, clock: Clock) -> None:
    job_id = submitted(ledger)
    claim = claimed(ledger)
    clock.forward(700)
    outcome = Outcome(
        Status.SUCCEEDED,
        answer={"text": "错误 E42"},
        usage={"prompt_tokens": 5},
        timing={"queue_ms": 0},
    )

    assert ledger.finish(claim, outcome)

    job = ledger.get("acme", job_id)
    assert job is not None
    assert (job.status, job.reason, job.answer) == (Status.SUCCEEDED, None, {"text": "错误 E42"})
    assert (job.usage, job.timing) == ({"prompt_tokens": 5}, {"queue_ms": 0})
    assert job.finished_at == clock.now
    assert job.expires_at == clock.now + 86_400_000
    assert (job.attempts[0].ended_at, job.attempts[0].outcome) == (clock.now, "succeeded")


def test_a_second_end_changes_nothing(client: Any, ledger: Ledger) -> None:
    submitted(ledger)
    claim = claimed(ledger)
    ledger.finish(claim, ANSWER)
    before = everything(client)
    assert not ledger.finish(claim, Outcome(Status.FAILED, Reason.ERROR, error=FAILURE))
    assert not ledger.hand_back(claim)
    assert not ledger.retry(claim, 0, FAILURE)
    assert everything(client) == before


def test_a_token_is_worth_nothing_once_another_worker_has_the_job(
    client: Any, ledger: Ledger
) -> None:
    submitted(ledger)
    old = claimed(ledger, "w1")
    ledger.hand_back(old)
    new = claimed(ledger, "w2")
    before = everything(client)

    assert not ledger.finish(old, ANSWER)
    assert not ledger.hand_back(old)
    assert not ledger.retry(old, 0, FAILURE)
    assert ledger.renew("w1", MODEL, {}, {old.job.id: old.fence}).lost == {old.job.id}

    assert everything(client).items() >= {k: v for k, v in before.items() if b":job:" in k}.items()
    assert ledger.finish(new, ANSWER)


@pytest.mark.parametrize("worker", ["w1", "w2"])
def test_a_token_is_worth_nothing_after_a_failover_that_lost_its_claim(
    client: Any, ledger: Ledger, worker: str
) -> None:
    job_id = submitted(ledger)
    replica = everything(client)
    lost = claimed(ledger, "w1")
    client.flushall()
    for name, value in replica.items():
        client.restore(name, 0, value)
    new = claimed(ledger, worker)
    pieces = Pieces(client)

    assert ledger.renew("w3", MODEL, {}, {job_id: lost.fence}).lost == {job_id}
    assert pieces.say([Piece(job_id, lost.fence, 0, "old")]) == {job_id}
    assert not ledger.hand_back(lost)
    assert not ledger.retry(lost, 0, FAILURE)
    assert not ledger.crash(lost, "engine_stalled")
    assert not ledger.finish(lost, ANSWER)

    assert pieces.say([Piece(job_id, new.fence, 0, "new")]) == set()
    assert ledger.finish(new, ANSWER)


def test_a_token_is_worth_nothing_once_its_lease_ran_out(ledger: Ledger, clock: Clock) -> None:
    job_id = submitted(ledger)
    claim = claimed(ledger)
    crash(ledger, clock)
    assert not ledger.finish(claim, ANSWER)
    assert status_of(ledger, job_id) == ("queued", None)


def test_a_token_is_worth_nothing_once_its_job_was_canceled_away(
    ledger: Ledger, clock: Clock
) -> None:
    job_id = submitted(ledger)
    claim = claimed(ledger)
    ledger.cancel("acme", job_id)
    crash(ledger, clock)
    assert not ledger.finish(claim, ANSWER)
    assert status_of(ledger, job_id) == ("canceled", "canceled")


def test_a_renewed_lease_does_not_run_out(ledger: Ledger, clock: Clock) -> None:
    submitted(ledger)
    claim = claimed(ledger)
    for _ in range(5):
        clock.forward(LEASE - 1)
        renewal = ledger.renew("w1", MODEL, {}, {claim.job.id: claim.fence})
        assert (renewal.lost, renewal.unwanted) == (frozenset(), frozenset())
        assert ledger.sweep().leases_expired == 0
    assert ledger.finish(claim, ANSWER)


def test_a_lease_that_ran_out_is_kept_until_the_sweeper_takes_it(
    ledger: Ledger, clock: Clock
) -> None:
    submitted(ledger)
    claim = claimed(ledger)
    clock.forward(2 * LEASE)
    assert not ledger.renew("w1", MODEL, {}, {claim.job.id: claim.fence}).lost
    assert ledger.sweep().leases_expired == 0


def test_a_worker_learns_at_renewal_what_it_lost_and_what_is_unwanted(
    ledger: Ledger, clock: Clock
) -> None:
    for _ in range(3):
        submitted(ledger)
    lost, unwanted, kept = (claimed(ledger) for _ in range(3))
    ledger.hand_back(lost)
    ledger.cancel("acme", unwanted.job.id)

    renewal = ledger.renew(
        "w1", MODEL, {}, {claim.job.id: claim.fence for claim in (lost, unwanted, kept)}
    )

    assert renewal.lost == {lost.job.id}
    assert renewal.unwanted == {unwanted.job.id}


def test_a_worker_is_known_while_it_renews_and_no_longer(ledger: Ledger, clock: Clock) -> None:
    ledger.renew("w1", MODEL, {"slots": 32}, {})
    ledger.renew("w2", MODEL, {"slots": 8}, {})
    assert ledger.workers(MODEL) == {"w1": {"slots": 32}, "w2": {"slots": 8}}
    assert MODEL in ledger.models()

    ledger.leave("w2", MODEL)
    assert set(ledger.workers(MODEL)) == {"w1"}


def test_a_crash_ends_the_attempt_and_makes_its_job_a_suspect(
    client: Any, ledger: Ledger, clock: Clock
) -> None:
    job_id = submitted(ledger)
    claimed(ledger)

    crash(ledger, clock)

    job = ledger.get("acme", job_id)
    assert job is not None
    assert job.status is Status.QUEUED
    assert (job.attempts[0].ended_at, job.attempts[0].outcome) == (clock.now, "lease_expired")
    assert ledger.queued(MODEL)["suspect"] == 1
    assert_counts_are_true(client, ledger)


def test_a_suspect_is_taken_before_all_others(ledger: Ledger, clock: Clock) -> None:
    suspect = submitted(ledger)
    claimed(ledger, "dead")
    submitted(ledger)
    crash(ledger, clock)
    assert claimed(ledger, "w1").job.id == suspect


def test_nothing_runs_beside_a_suspect(ledger: Ledger, clock: Clock) -> None:
    suspect = submitted(ledger)
    claimed(ledger, "dead")
    crash(ledger, clock)
    other = submitted(ledger)

    alone = claimed(ledger, "w1")
    assert alone.job.id == suspect
    assert ledger.claim(MODEL, "w1") is None

    ledger.finish(alone, ANSWER)
    assert claimed(ledger, "w1").job.id == other


def test_a_worker_lets_its_jobs_run_out_before_it_takes_a_suspect(
    ledger: Ledger, clock: Clock
) -> None:
    busy = submitted(ledger)
    running = claimed(ledger, "w1")
    assert running.job.id == busy
    suspect = submitted(ledger)
    claimed(ledger, "dead")
    submitted(ledger)
    clock.forward(LEASE - 1)
    ledger.renew("w1", MODEL, {}, {busy: running.fence})
    clock.forward(1)
    ledger.sweep()

    assert ledger.claim(MODEL, "w1") is None, "it still has a job that a crash would take along"
    ledger.finish(running, ANSWER)

    assert claimed(ledger, "w1").job.id == suspect


def test_other_workers_go_on_while_one_takes_care_of_a_suspect(
    ledger: Ledger, clock: Clock
) -> None:
    suspect = submitted(ledger)
    claimed(ledger, "dead")
    crash(ledger, clock)
    rest = [submitted(ledger) for _ in range(3)]
    alone = claimed(ledger, "w1")

    assert alone.job.id == suspect
    assert [claimed(ledger, "w2").job.id for _ in range(3)] == rest


def test_suspects_run_one_after_the_other(ledger: Ledger, clock: Clock) -> None:
    suspects = [submitted(ledger) for _ in range(3)]
    for _ in suspects:
        claimed(ledger, "dead")
    crash(ledger, clock)
    rerun = []
    for _ in suspects:
        alone = claimed(ledger, "w1")
        assert ledger.claim(MODEL, "w1") is None
        rerun.append(alone.job.id)
        ledger.finish(alone, ANSWER)
    assert rerun == suspects


def test_another_worker_takes_a_suspect_over_where_the_first_died_with_it(
    ledger: Ledger, clock: Clock
) -> None:
    suspect = submitted(ledger)
    claimed(ledger, "dead")
    crash(ledger, clock)
    claimed(ledger, "w1")
    crash(ledger, clock)
    assert claimed(ledger, "w2").job.id == suspect


def test_at_three_crashes_a_job_fails_as_poison(client: Any, ledger: Ledger, clock: Clock) -> None:
    job_id = submitted(ledger)
    for _ in range(2):
        claimed(ledger)
        crash(ledger, clock)
        assert status_of(ledger, job_id) == ("queued", None)
    claimed(ledger)
    crash(ledger, clock)

    assert status_of(ledger, job_id) == ("failed", "poison")
    job = ledger.get("acme", job_id)
    assert job is not None
    assert [attempt.outcome for attempt in job.attempts] == ["lease_expired"] * 3
    assert ledger.claim(MODEL, "w1") is None
    assert_counts_are_true(client, ledger)


def test_one_bad_job_takes_none_of_its_neighbours_along(ledger: Ledger, clock: Clock) -> None:
    jobs = [submitted(ledger) for _ in range(8)]
    bad = jobs[3]
    for round_ in range(40):
        worker = f"w{round_}"
        claims = []
        while claim := ledger.claim(MODEL, worker):
            claims.append(claim)
        if not claims:
            break
        if bad in [claim.job.id for claim in claims]:
            crash(ledger, clock)
        else:
            for claim in claims:
                ledger.finish(claim, ANSWER)
            ledger.leave(worker, MODEL)
    ends = {job_id: status_of(ledger, job_id) for job_id in jobs}
    assert ends.pop(bad) == ("failed", "poison")
    assert set(ends.values()) == {("succeeded", None)}


def test_crashes_use_up_no_tries(new_ledger: NewLedger, clock: Clock) -> None:
    ledger = new_ledger(attempts=2)
    job_id = submitted(ledger)
    for _ in range(2):
        claimed(ledger)
        crash(ledger, clock)
    ledger.retry(claimed(ledger), 0, FAILURE)
    assert status_of(ledger, job_id) == ("queued", None)


@pytest.mark.parametrize("way", ["handed back", "retried"])
def test_a_suspect_that_comes_back_unanswered_is_still_run_alone(
    ledger: Ledger, clock: Clock, way: str
) -> None:
    suspect = submitted(ledger)
    claimed(ledger, "dead")
    crash(ledger, clock)
    other = submitted(ledger)
    alone = claimed(ledger, "w1")
    assert alone.job.id == suspect
    if way == "handed back":
        ledger.hand_back(alone)
    else:
        ledger.retry(alone, 1_000, FAILURE)
        clock.forward(1_000)
        ledger.sweep()

    again = claimed(ledger, "w1")
    beside = ledger.claim(MODEL, "w1")

    assert {again.job.id, beside.job.id if beside else None} in ({suspect, None}, {other, None})
