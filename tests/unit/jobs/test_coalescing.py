"""The same work is done once: who asks what an open job asks follows that job to its end."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from jobs.errors import LedgerFull, TenantQueueFull
from jobs.image_store import ImageStore
from jobs.job import Job, Outcome, Priority, Reason, Status
from jobs.ledger import Ledger
from jobs.request import Conversation, ImagePart, Parameters, Turn
from jobs.scripts import PREFIX
from tests.conftest import NewLedger
from tests.eventually import PATIENCE_S
from tests.ledgers import (
    ANSWER,
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
    submitted,
    the_same,
)

PICTURE = ImagePart("d" * 64, 64, 48)
LEASE = 30_000


@pytest.mark.parametrize("runs", [False, True])
def test_who_asks_what_an_open_job_asks_follows_it(client: Any, ledger: Ledger, runs: bool) -> None:
    leader = asked(ledger)
    if runs:
        claimed(ledger)

    follower = asked(ledger)

    assert follower.id != leader.id
    assert (follower.status, follower.deduplicated_from) == (Status.QUEUED, leader.id)
    assert ledger.get("acme", follower.id) == follower
    assert sum(ledger.queued(MODEL).values()) == (0 if runs else 1)
    assert ledger.counters() == {"coalesced": 1}
    assert_counts_are_true(client, ledger)


def test_a_follower_is_given_to_no_worker(ledger: Ledger) -> None:
    leader = asked(ledger)
    for _ in range(3):
        asked(ledger)
    assert claimed(ledger).job.id == leader.id
    assert ledger.claim(MODEL, "w2") is None


def test_whoever_asks_while_others_follow_follows_the_same_leader(ledger: Ledger) -> None:
    leader = asked(ledger)
    followers = [asked(ledger) for _ in range(3)]
    assert leaders(ledger, *followers) == [leader.id] * 3


def shown(*pictures: ImagePart) -> Conversation:
    """A question about pictures."""
    return Conversation((Turn("user", (*pictures, "What is the error code?")),))


@pytest.mark.parametrize(
    "other",
    [
        {"model": "another"},
        {"revision": "another"},
        {"conversation": Conversation((Turn("user", ("Another?",)),))},
        {"conversation": Conversation((Turn("system", ("x",)), *shown(PICTURE).turns))},
        {"conversation": shown()},
        {"conversation": shown(PICTURE, PICTURE)},
        {"conversation": shown(ImagePart("e" * 64, 64, 48))},
        {"conversation": shown(ImagePart("d" * 64, 64, 48, "high"))},
        {"parameters": Parameters(max_new_tokens=8)},
        {"parameters": Parameters(temperature=0.1)},
        {"parameters": Parameters(top_p=0.5)},
        {"parameters": Parameters(top_k=4)},
        {"parameters": Parameters(seed=0)},
        {"parameters": Parameters(stop=("x",))},
        {"tenant": "other"},
    ],
    ids=str,
)
def test_what_decides_an_answer_tells_jobs_apart(
    client: Any, ledger: Ledger, other: dict[str, Any]
) -> None:
    for tenant in ("acme", "other"):
        for digest in ("d" * 64, "e" * 64):
            ImageStore(client).put(tenant, digest, b"pixels")
    fields: dict[str, Any] = {"tenant": "acme", "conversation": shown(PICTURE)}
    first = asked(ledger, **fields)
    assert asked(ledger, **{**fields, **other}).deduplicated_from is None
    assert asked(ledger, **fields).deduplicated_from == first.id


@pytest.mark.parametrize(
    "other",
    [
        {"metadata": {"a": 1}},
        {"group": "ticket-1"},
        {"deadline_ms": 5_000},
        {"priority": Priority.LOW},
        {"idempotency_key": "k", "fingerprint": "f"},
    ],
    ids=str,
)
def test_what_does_not_decide_an_answer_does_not(ledger: Ledger, other: dict[str, Any]) -> None:
    assert asked(ledger, **other).deduplicated_from is None
    assert asked(ledger).deduplicated_from is not None


def test_open_jobs_share_a_sampled_answer_too(ledger: Ledger) -> None:
    sampled = Parameters(temperature=0.7)
    first = asked(ledger, parameters=sampled)
    assert asked(ledger, parameters=sampled).deduplicated_from == first.id


def test_who_opts_out_neither_follows_nor_is_followed(ledger: Ledger) -> None:
    asked(ledger, cache=False)
    first = asked(ledger)
    assert first.deduplicated_from is None
    assert asked(ledger, cache=False).deduplicated_from is None
    assert asked(ledger).deduplicated_from == first.id


def test_a_repeat_under_an_idempotency_key_is_that_job_and_no_follower(ledger: Ledger) -> None:
    first, _ = ledger.submit(the_same(idempotency_key="k", fingerprint="f"))
    assert ledger.submit(the_same(idempotency_key="k", fingerprint="f")) == (first, True)
    assert ledger.counters() == {}


def test_a_follower_whose_acceptance_was_not_heard_follows_once(
    client: Any, ledger: Ledger
) -> None:
    asked(ledger)
    again = the_same()
    assert ledger.submit(again) == ledger.submit(again)
    assert ledger.counters() == {"coalesced": 1}
    assert_counts_are_true(client, ledger)


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(Status.SUCCEEDED, answer={"text": "错误 E42", "finish_reason": "length"}),
        Outcome(Status.FAILED, Reason.ERROR, error=FAILURE),
        Outcome(Status.FAILED, error=FAILURE),
        Outcome(Status.FAILED, Reason.REFUSED),
    ],
    ids=lambda outcome: f"{outcome.status} {outcome.reason}",
)
def test_followers_end_as_their_leader_ends_each_once(
    client: Any, ledger: Ledger, clock: Clock, outcome: Outcome
) -> None:
    leader = asked(ledger)
    followers = [asked(ledger, metadata={"n": n}) for n in range(3)]
    claim = claimed(ledger)
    late = asked(ledger)
    clock.forward(700)

    assert ledger.finish(claim, outcome)

    for job in (leader, *followers, late):
        ended = now(ledger, job)
        assert (ended.status, ended.reason) == (outcome.status, outcome.reason)
        assert (ended.answer, ended.error) == (outcome.answer, outcome.error)
        assert (ended.finished_at, ended.expires_at) == (clock.now, clock.now + 86_400_000)
    assert leaders(ledger, *followers, late) == [leader.id] * 4
    ends = [job_id for job_id, status, _ in events(client) if Status(status).is_terminal]
    assert ends == [job.id for job in (leader, *followers, late)]
    assert [now(ledger, job).metadata for job in followers] == [{"n": n} for n in range(3)]
    assert not ledger.finish(claim, outcome)
    assert_counts_are_true(client, ledger)


def test_of_a_followers_tokens_none_were_computed_for_it(ledger: Ledger) -> None:
    asked(ledger)
    follower = asked(ledger)
    usage = {"prompt_tokens": 700, "cached_tokens": 10, "completion_tokens": 5}
    ledger.finish(
        claimed(ledger),
        Outcome(Status.SUCCEEDED, answer={"text": "x"}, usage=usage, timing={"queue_ms": 1}),
    )
    ended = now(ledger, follower)
    assert ended.usage == {**usage, "cached_tokens": 700}
    assert (ended.started_at, ended.attempts, ended.timing) == (None, (), None)


def test_followers_wait_while_their_leader_crashes_and_is_tried_again(
    client: Any, ledger: Ledger, clock: Clock
) -> None:
    leader, follower = asked(ledger), asked(ledger)
    claimed(ledger)
    clock.forward(LEASE)
    ledger.sweep()
    late = asked(ledger)
    assert statuses(ledger, leader, follower, late) == [("queued", None)] * 3
    assert_counts_are_true(client, ledger)
    ledger.retry(claimed(ledger), 1_000, FAILURE)
    later = asked(ledger)
    clock.forward(1_000)
    ledger.sweep()
    again = claimed(ledger)
    assert again.job.id == leader.id
    assert leaders(ledger, follower, late, later) == [leader.id] * 3

    ledger.finish(again, ANSWER)

    assert statuses(ledger, leader, follower, late, later) == [("succeeded", None)] * 4
    assert_counts_are_true(client, ledger)


def test_followers_of_a_poisonous_job_fail_with_it_and_crash_nobody(
    client: Any, ledger: Ledger, clock: Clock
) -> None:
    leader, follower = asked(ledger), asked(ledger)
    for _ in range(3):
        assert claimed(ledger).job.id == leader.id
        clock.forward(LEASE)
        ledger.sweep()
    assert statuses(ledger, leader, follower) == [("failed", "poison")] * 2
    assert ledger.claim(MODEL, "w1") is None
    assert_counts_are_true(client, ledger)


def test_followers_fail_when_their_leaders_tries_are_used_up(new_ledger: NewLedger) -> None:
    ledger = new_ledger(attempts=1)
    _, follower = asked(ledger), asked(ledger)
    ledger.retry(claimed(ledger), 0, FAILURE)
    assert statuses(ledger, follower) == [("failed", "error")]
    assert now(ledger, follower).error == FAILURE


def test_a_follower_is_canceled_alone(client: Any, ledger: Ledger) -> None:
    leader, gone, stays = asked(ledger), asked(ledger), asked(ledger)
    ledger.cancel("acme", gone.id)
    assert statuses(ledger, leader, gone, stays) == [
        ("queued", None),
        ("canceled", "canceled"),
        ("queued", None),
    ]
    assert_counts_are_true(client, ledger)
    ledger.finish(claimed(ledger), ANSWER)
    assert statuses(ledger, gone, stays) == [("canceled", "canceled"), ("succeeded", None)]


def test_a_followers_deadline_ends_it_alone(client: Any, ledger: Ledger, clock: Clock) -> None:
    leader, gone = asked(ledger), asked(ledger, deadline_ms=1_000)
    claim = claimed(ledger)
    clock.forward(1_000)
    assert ledger.sweep().ended == 1
    assert statuses(ledger, leader, gone) == [("processing", None), ("failed", "deadline")]
    assert ledger.finish(claim, ANSWER)
    assert_counts_are_true(client, ledger)


def test_followers_count_towards_their_tenants_limit_and_that_of_all(
    new_ledger: NewLedger,
) -> None:
    for limits, refusal in (({"tenant_queue": 2}, TenantQueueFull), ({"queue": 4}, LedgerFull)):
        ledger = new_ledger(**limits)
        tenant = refusal.__name__
        asked(ledger, tenant)
        asked(ledger, tenant)
        with pytest.raises(refusal):
            asked(ledger, tenant)


@pytest.mark.parametrize("first", [0, 2])
def test_a_followers_position_is_its_leaders(ledger: Ledger, first: int) -> None:
    for _ in range(first):
        submitted(ledger)
    leader = asked(ledger)
    for _ in range(3):
        submitted(ledger)
    assert ledger.position(asked(ledger, priority=Priority.LOW)) == ledger.position(leader)
    assert ledger.position(leader) == first + 1


def test_no_job_has_more_followers_than_one_script_can_end(client: Any, ledger: Ledger) -> None:
    first = asked(ledger)
    for _ in range(200):
        asked(ledger)
    beyond, follows_it = asked(ledger), asked(ledger)

    assert leaders(ledger, beyond, follows_it) == [None, beyond.id]
    claims = [claimed(ledger), claimed(ledger)]
    assert [claim.job.id for claim in claims] == [first.id, beyond.id]
    ledger.finish(claims[0], ANSWER)
    assert asked(ledger).deduplicated_from == beyond.id, "it is still open, and still followed"
    ledger.finish(claims[1], ANSWER)
    ends = [job_id for job_id, status, _ in events(client) if status == "succeeded"]
    assert len(ends) == len(set(ends)) == 204
    assert_counts_are_true(client, ledger)


def test_fifty_who_ask_the_same_at_once_have_it_run_once(client: Any, ledger: Ledger) -> None:
    together = threading.Barrier(50)

    def ask(_: int) -> Job:
        together.wait(timeout=PATIENCE_S)
        return asked(ledger)

    with ThreadPoolExecutor(50) as callers:
        jobs = list(callers.map(ask, range(50)))
    claim = claimed(ledger)
    assert ledger.claim(MODEL, "w2") is None
    ledger.finish(claim, ANSWER)

    assert len({job.id for job in jobs}) == 50
    assert statuses(ledger, *jobs) == [("succeeded", None)] * 50
    assert [job.deduplicated_from for job in jobs].count(None) == 1
    assert sum(len(now(ledger, job).attempts) for job in jobs) == 1
    assert ledger.counters() == {"coalesced": 49}
    assert_counts_are_true(client, ledger)


def test_two_tenants_never_share_however_alike_they_ask(ledger: Ledger) -> None:
    mine, theirs = asked(ledger, "acme"), asked(ledger, "other")
    assert leaders(ledger, mine, theirs) == [None, None]
    ledger.finish(claimed(ledger), ANSWER)
    assert sorted(statuses(ledger, mine, theirs)) == [("queued", None), ("succeeded", None)]


def test_a_follower_keeps_its_answer_when_its_leader_is_forgotten(
    new_ledger: NewLedger, clock: Clock
) -> None:
    leader = asked(new_ledger(retention=1_000))
    ledger = new_ledger(retention=60_000)
    follower = asked(ledger)
    ledger.finish(claimed(ledger), ANSWER)
    clock.forward(1_000)
    assert ledger.sweep().forgotten == 1
    assert ledger.get("acme", leader.id) is None
    assert now(ledger, follower).answer == ANSWER.answer
    clock.forward(59_000)
    assert ledger.sweep().forgotten == 1


def test_a_follower_that_an_older_program_ended_is_not_ended_again(
    client: Any, ledger: Ledger
) -> None:
    asked(ledger)
    follower, stays = asked(ledger), asked(ledger)
    client.hset(f"{PREFIX}job:{follower.id}", mapping={"status": "canceled", "place": ""})
    ledger.finish(claimed(ledger), ANSWER)
    assert statuses(ledger, follower, stays) == [("canceled", None), ("succeeded", None)]


def test_nothing_that_holds_jobs_together_outlives_them(client: Any, ledger: Ledger) -> None:
    sampled = Parameters(temperature=0.7)
    asked(ledger, parameters=sampled)
    asked(ledger, parameters=sampled)
    ledger.finish(claimed(ledger), ANSWER)
    assert not client.keys(f"{PREFIX}followers:*")
    assert not client.keys(f"{PREFIX}same:*")
