"""The same work is done once: a repeatable answer that is still kept answers whoever asks again."""

from typing import Any

import pytest

from jobs.errors import ImageExpired
from jobs.image_store import ImageStore
from jobs.job import Job, Outcome, Reason, Status
from jobs.ledger import Ledger, Limits
from jobs.request import Conversation, ImagePart, Parameters, Turn
from jobs.scripts import PREFIX
from tests.conftest import NewLedger
from tests.eventually import eventually
from tests.ledgers import (
    FAILURE,
    MODEL,
    Clock,
    asked,
    assert_counts_are_true,
    claimed,
    events,
    leaders,
    now,
    statuses,
    the_same,
)

PICTURE = ImagePart("d" * 64, 64, 48)
SHOWN = Conversation((Turn("user", (PICTURE, "What is the error code?")),))
SEEDED = Parameters(temperature=0.7, seed=0)
SAMPLED = Parameters(temperature=0.7)
USAGE = {"prompt_tokens": 700, "cached_tokens": 10, "completion_tokens": 5}
ANSWER = Outcome(
    Status.SUCCEEDED,
    answer={"text": "错误 E42", "finish_reason": "stop"},
    usage=USAGE,
    timing={"queue_ms": 1},
)
HOUR = 3_600_000


def answered(ledger: Ledger, tenant: str = "acme", **fields: Any) -> Job:
    """A job that was asked and has been answered by a worker."""
    job = asked(ledger, tenant, **fields)
    assert ledger.finish(claimed(ledger), ANSWER)
    return now(ledger, job)


@pytest.mark.parametrize("parameters", [Parameters(), SEEDED], ids=["greedy", "seeded"])
def test_a_repeatable_answer_ends_the_next_who_asks_at_once(
    client: Any, ledger: Ledger, clock: Clock, parameters: Parameters
) -> None:
    source = answered(ledger, parameters=parameters)
    clock.forward(700)

    job = asked(ledger, parameters=parameters, metadata={"a": 1})

    assert job == now(ledger, job)
    assert (job.status, job.reason, job.answer) == (Status.SUCCEEDED, None, ANSWER.answer)
    assert (job.id != source.id, job.deduplicated_from) == (True, source.id)
    assert (job.created_at, job.finished_at) == (clock.now, clock.now)
    assert job.expires_at == clock.now + 24 * HOUR
    assert job.usage == {**USAGE, "cached_tokens": 700}
    assert (job.attempts, job.started_at, job.timing) == ((), None, None)
    assert job.metadata == {"a": 1}
    assert [e[1] for e in events(client) if e[0] == job.id] == ["queued", "succeeded"]
    assert ledger.claim(MODEL, "w1") is None
    assert ledger.counters() == {"answered_from_cache": 1}
    assert_counts_are_true(client, ledger)


def test_every_later_one_names_the_job_that_was_run(ledger: Ledger) -> None:
    source = answered(ledger)
    assert leaders(ledger, *(asked(ledger) for _ in range(3))) == [source.id] * 3


def test_what_followed_the_source_answers_nobody_in_its_stead(ledger: Ledger) -> None:
    source = asked(ledger)
    asked(ledger)
    ledger.finish(claimed(ledger), ANSWER)
    assert asked(ledger).deduplicated_from == source.id


def test_a_promoted_job_that_was_answered_is_a_source(ledger: Ledger) -> None:
    leader, follower = asked(ledger), asked(ledger)
    ledger.cancel("acme", leader.id)
    ledger.finish(claimed(ledger), ANSWER)
    assert asked(ledger).deduplicated_from == follower.id


def test_a_sampled_answer_is_given_once(ledger: Ledger) -> None:
    answered(ledger, parameters=SAMPLED)
    job = asked(ledger, parameters=SAMPLED)
    assert (job.status, job.deduplicated_from) == (Status.QUEUED, None)


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(Status.FAILED, Reason.ERROR, error=FAILURE),
        Outcome(Status.FAILED, Reason.REFUSED),
        Outcome(Status.FAILED, Reason.DEADLINE),
        Outcome(Status.CANCELED, Reason.CANCELED),
    ],
    ids=lambda outcome: f"{outcome.status} {outcome.reason}",
)
def test_what_is_no_answer_is_not_given_again(ledger: Ledger, outcome: Outcome) -> None:
    asked(ledger)
    ledger.finish(claimed(ledger), outcome)
    job = asked(ledger)
    assert (job.status, job.deduplicated_from) == (Status.QUEUED, None)


def test_who_opts_out_is_neither_answered_nor_a_source(ledger: Ledger) -> None:
    answered(ledger, cache=False)
    job = asked(ledger)
    assert job.status is Status.QUEUED
    ledger.finish(claimed(ledger), ANSWER)
    assert asked(ledger, cache=False).status is Status.QUEUED
    assert asked(ledger).deduplicated_from == job.id


@pytest.mark.parametrize(
    "other",
    [{"tenant": "other"}, {"revision": "another"}, {"parameters": SEEDED}],
    ids=str,
)
def test_an_answer_is_for_the_same_tenant_revision_and_parameters(
    ledger: Ledger, other: dict[str, Any]
) -> None:
    answered(ledger)
    job = asked(ledger, **other)
    assert (job.status, job.answer, job.deduplicated_from) == (Status.QUEUED, None, None)


def test_a_repeat_under_an_idempotency_key_is_that_job(ledger: Ledger) -> None:
    answered(ledger)
    first, _ = ledger.submit(the_same(idempotency_key="k", fingerprint="f"))
    assert first.status is Status.SUCCEEDED
    assert ledger.submit(the_same(idempotency_key="k", fingerprint="f")) == (first, True)
    assert ledger.counters() == {"answered_from_cache": 1}


def test_an_answer_is_given_again_only_while_the_job_that_was_run_is_kept(
    new_ledger: NewLedger, clock: Clock
) -> None:
    ledger = new_ledger(retention=HOUR)
    answered(ledger)
    clock.forward(HOUR - 1)
    copy = asked(ledger)
    assert copy.status is Status.SUCCEEDED
    clock.forward(1)
    assert ledger.sweep().forgotten == 1

    assert asked(ledger).status is Status.QUEUED
    assert now(ledger, copy).answer == ANSWER.answer, "it is kept as long as any other job"


def test_whoever_asks_again_does_not_prolong_the_way_to_an_answer(
    client: Any, new_ledger: NewLedger
) -> None:
    answered(new_ledger(retention=HOUR))
    [way] = client.keys(f"{PREFIX}same:acme:*")
    assert 0 < client.pttl(way) <= HOUR
    asked(new_ledger(retention=24 * HOUR))
    assert client.pttl(way) <= HOUR


def test_an_answer_needs_the_picture_that_it_is_about_and_prolongs_its_life(
    client: Any, new_ledger: NewLedger
) -> None:
    images = ImageStore(client, first_life_ms=600_000)
    images.put("acme", PICTURE.digest, b"pixels")
    answered(new_ledger(queue_lifetime=HOUR, retention=HOUR), conversation=SHOWN)
    ledger = new_ledger(queue_lifetime=HOUR, retention=9 * HOUR)

    assert asked(ledger, conversation=SHOWN).status is Status.SUCCEEDED
    key = f"{PREFIX}image:acme:{PICTURE.digest}"
    assert client.pttl(key) > 9 * HOUR

    client.delete(key)
    with pytest.raises(ImageExpired):
        asked(ledger, conversation=SHOWN)


def test_of_what_answered_others_nothing_outlives_them(client: Any) -> None:
    ledger = Ledger(client, Limits(queue_lifetime=4_000, retention=150))
    images = ImageStore(client, first_life_ms=4_000)
    images.put("acme", PICTURE.digest, b"pixels")
    jobs = [asked(ledger, conversation=SHOWN) for _ in range(2)]
    ledger.finish(claimed(ledger), ANSWER)
    jobs.append(asked(ledger, conversation=SHOWN))
    assert statuses(ledger, *jobs) == [("succeeded", None)] * 3
    eventually(lambda: ledger.sweep() and not client.keys(f"{PREFIX}job:*"), "all are forgotten")
    for kept in ("same", "followers", "queue", "jobs"):
        assert not client.keys(f"{PREFIX}{kept}:*")
    eventually(lambda: not client.keys(f"{PREFIX}image:*"), "the picture is gone")
