"""Failed jobs are counted by reason, and asked again, each once at most."""

from typing import Any

import pytest

from jobs.errors import Conflict, ImageExpired, IntakePaused
from jobs.failures import Failures
from jobs.image_store import ImageStore
from jobs.intake import Intake
from jobs.job import Draft, Job, Outcome, Priority, Reason, Status
from jobs.ledger import Ledger
from jobs.request import ImagePart, Parameters
from jobs.retrying import Retrying
from jobs.scripts import PREFIX
from tests.ledgers import (
    ANSWER,
    FAILURE,
    Clock,
    assert_counts_are_true,
    claimed,
    draft,
    now,
    status_of,
    submitted,
    webhook,
)

FAILED = Outcome(Status.FAILED, Reason.ERROR, error=FAILURE)


@pytest.fixture
def retrying(client: Any, ledger: Ledger) -> Retrying:
    """Asks again, in the ledger."""
    return Retrying(client, ledger, "r2")


@pytest.fixture
def failures(client: Any) -> Failures:
    """What failed."""
    return Failures(client)


def failed(ledger: Ledger, one: Draft | None = None, outcome: Outcome = FAILED) -> Job:
    """A job that has just failed."""
    job, _ = ledger.submit(one or draft())
    ledger.finish(claimed(ledger), outcome)
    return now(ledger, job)


def retried(retrying: Retrying, job: Job) -> Job:
    """The job that asks again."""
    found = retrying.retry(job.tenant, job.id)
    assert found is not None
    return found


def test_the_new_job_asks_what_the_old_one_asked_in_every_respect(
    client: Any, ledger: Ledger, retrying: Retrying
) -> None:
    ImageStore(client).put("acme", "d" * 64, b"pixels")
    asked = draft(
        images=(ImagePart("d" * 64, 16, 16),),
        parameters=Parameters(8, 0.5, seed=7),
        priority=Priority.HIGH,
        deadline_ms=60_000,
        group="ticket-1",
        metadata={"ticket": 1},
        webhook=webhook(),
        trace="00-" + "1" * 32 + "-" + "2" * 16 + "-01",
    )
    old = failed(ledger, asked)
    new = retried(retrying, old)
    assert new.id != old.id
    assert new.status is Status.QUEUED
    for name in ("conversation", "parameters", "priority", "model", "group", "tenant", "trace"):
        assert getattr(new, name) == getattr(old, name)
    assert new.due_at - new.created_at == 60_000
    assert new.metadata == {"ticket": 1, "retry_of": old.id}
    assert client.hget(f"{PREFIX}job:{new.id}", "webhook")


def test_the_old_job_stays_failed_and_says_which_one_asks_again(
    ledger: Ledger, retrying: Retrying
) -> None:
    old = failed(ledger)
    new = retried(retrying, old)
    ledger.finish(claimed(ledger), ANSWER)
    assert status_of(ledger, old.id) == ("failed", "error")
    assert now(ledger, old).retried_as == new.id
    assert status_of(ledger, new.id) == ("succeeded", None)


def test_a_doubled_click_doubles_nothing(client: Any, ledger: Ledger, retrying: Retrying) -> None:
    old = failed(ledger)
    first, again = retrying.retry("acme", old.id), retrying.retry("acme", old.id)
    assert first is not None
    assert again is not None
    assert again.id == first.id
    assert_counts_are_true(client, ledger)
    assert ledger.queued("demo")["normal"] == 1


def test_nobodys_own_idempotency_key_is_in_the_way(ledger: Ledger, retrying: Retrying) -> None:
    old = failed(ledger, draft(idempotency_key="k", fingerprint="f"))
    assert retried(retrying, old).id != old.id
    assert ledger.submit(draft(idempotency_key="k", fingerprint="f"))[0].id == old.id


def test_a_canceled_job_can_be_asked_again_too(ledger: Ledger, retrying: Retrying) -> None:
    job, _ = ledger.submit(draft())
    ledger.cancel("acme", job.id)
    assert retried(retrying, job).metadata["retry_of"] == job.id


def test_what_is_open_or_answered_is_not_asked_again(ledger: Ledger, retrying: Retrying) -> None:
    job_id = submitted(ledger)
    for _ in range(2):
        with pytest.raises(Conflict) as refused:
            retrying.retry("acme", job_id)
        assert refused.value.code == "job_not_failed"
        if ledger.queued("demo")["normal"]:
            ledger.finish(claimed(ledger), ANSWER)


def test_another_tenants_job_is_none(ledger: Ledger, retrying: Retrying) -> None:
    old = failed(ledger)
    assert retrying.retry("other", old.id) is None
    assert retrying.retry("acme", "job_none") is None


def test_a_job_whose_picture_is_gone_cannot_be_asked_again(
    client: Any, ledger: Ledger, retrying: Retrying
) -> None:
    ImageStore(client).put("acme", "d" * 64, b"pixels")
    old = failed(ledger, draft(images=(ImagePart("d" * 64, 16, 16),)))
    client.delete(f"{PREFIX}image:acme:{'d' * 64}")
    with pytest.raises(ImageExpired):
        retrying.retry("acme", old.id)


def test_of_a_job_that_is_erased_meanwhile_no_copy_is_left(
    client: Any, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = failed(ledger)
    submit = ledger.submit

    def erased_first(one: Draft, soonest_ms: int = 0) -> tuple[Job, bool]:
        ledger.erase("acme", old.id)
        return submit(one, soonest_ms)

    monkeypatch.setattr(ledger, "submit", erased_first)
    assert Retrying(client, ledger).retry("acme", old.id) is None
    assert client.keys(f"{PREFIX}job:*") == []


def test_failed_jobs_are_counted_by_reason_until_they_are_asked_again_or_forgotten(
    ledger: Ledger, failures: Failures, retrying: Retrying, clock: Clock
) -> None:
    first = failed(ledger)
    clock.forward(1)
    second = failed(ledger)
    refused = failed(ledger, outcome=Outcome(Status.FAILED, Reason.REFUSED))
    expected = dict.fromkeys(failures.counts(), 0)
    assert failures.counts() == {**expected, Reason.ERROR: 2, Reason.REFUSED: 1}
    assert [one.id for one in failures.newest(Reason.ERROR)] == [second.id, first.id]
    [shown] = failures.newest(Reason.REFUSED)
    assert (shown.id, shown.tenant, shown.model, shown.code) == (refused.id, "acme", "demo", None)
    assert failures.newest(Reason.ERROR)[0].code == FAILURE["code"]

    retried(retrying, first)
    ledger.erase("acme", refused.id)
    assert failures.counts() == {**expected, Reason.ERROR: 1}
    ledger.finish(claimed(ledger), ANSWER)
    clock.forward((second.expires_at or 0) - clock.now)
    ledger.sweep()
    assert failures.counts() == expected


def test_a_job_past_its_deadline_is_among_them(
    ledger: Ledger, failures: Failures, clock: Clock
) -> None:
    submitted(ledger, deadline_ms=1000)
    clock.forward(1001)
    ledger.sweep()
    assert failures.counts()[Reason.DEADLINE] == 1


def test_all_that_failed_for_a_reason_is_asked_again_oldest_first_a_bounded_number_at_a_time(
    ledger: Ledger, failures: Failures, retrying: Retrying, clock: Clock
) -> None:
    old = []
    for _ in range(5):
        old.append(failed(ledger).id)
        clock.forward(1)
    first = retrying.retry_failed(Reason.ERROR, at_most=3)
    assert [job.metadata["retry_of"] for job in first.retried] == old[:3]
    assert (first.kept, first.left, first.skip) == ({}, 2, 0)
    second = retrying.retry_failed(Reason.ERROR, first.skip, at_most=3)
    assert (len(second.retried), second.left) == (2, 0)
    assert failures.counts()[Reason.ERROR] == 0
    assert retrying.retry_failed(Reason.ERROR).retried == ()


def test_what_cannot_be_asked_again_stays_and_is_not_in_the_way(
    client: Any, ledger: Ledger, failures: Failures, retrying: Retrying, clock: Clock
) -> None:
    ImageStore(client).put("acme", "d" * 64, b"pixels")
    failed(ledger, draft(images=(ImagePart("d" * 64, 16, 16),)))
    client.delete(f"{PREFIX}image:acme:{'d' * 64}")
    clock.forward(1)
    failed(ledger)
    first = retrying.retry_failed(Reason.ERROR, at_most=1)
    assert (first.retried, first.kept, first.left) == ((), {"image_expired": 1}, 1)
    second = retrying.retry_failed(Reason.ERROR, first.skip, at_most=1)
    assert (len(second.retried), second.left) == (1, 0)
    assert failures.counts()[Reason.ERROR] == 1


def test_nothing_is_asked_again_while_the_intake_is_paused(
    client: Any, ledger: Ledger, failures: Failures, retrying: Retrying
) -> None:
    old = failed(ledger)
    Intake(client, ledger.scripts).pause("acme")
    with pytest.raises(IntakePaused):
        retrying.retry("acme", old.id)
    assert retrying.retry_failed(Reason.ERROR).kept == {"paused": 1}
    assert failures.counts()[Reason.ERROR] == 1
