"""When a job ends and those that follow it have no outcome, the oldest of them takes its place."""

from typing import Any

import pytest

from jobs.job import Outcome, Priority, Reason, Status
from jobs.ledger import Ledger
from jobs.scripts import PREFIX
from tests.conftest import NewLedger
from tests.ledgers import (
    ANSWER,
    FAILURE,
    MODEL,
    Clock,
    asked,
    assert_counts_are_true,
    claimed,
    leaders,
    now,
    statuses,
    submitted,
)

LEASE = 30_000
WAITS = ("queued", None)


def test_when_a_queued_leader_is_canceled_the_oldest_follower_leads_the_rest(
    client: Any, ledger: Ledger
) -> None:
    leader, oldest, *rest = [asked(ledger) for _ in range(4)]

    ledger.cancel("acme", leader.id)

    assert statuses(ledger, leader, oldest, *rest) == [("canceled", "canceled")] + [WAITS] * 3
    assert leaders(ledger, oldest, *rest) == [None, oldest.id, oldest.id]
    assert asked(ledger).deduplicated_from == oldest.id
    assert_counts_are_true(client, ledger)
    claim = claimed(ledger)
    assert claim.job.id == oldest.id
    ledger.finish(claim, ANSWER)
    assert statuses(ledger, oldest, *rest) == [("succeeded", None)] * 3
    assert leaders(ledger, *rest) == [oldest.id] * 2


def test_one_after_the_other_may_be_canceled_and_the_last_is_still_answered(
    client: Any, ledger: Ledger
) -> None:
    *gone, last = [asked(ledger) for _ in range(5)]
    for job in gone:
        ledger.cancel("acme", job.id)
        assert_counts_are_true(client, ledger)
    ledger.finish(claimed(ledger), ANSWER)
    assert statuses(ledger, *gone, last) == [("canceled", "canceled")] * 4 + [("succeeded", None)]
    assert not client.keys(f"{PREFIX}followers:*")


def test_a_promoted_job_waits_in_its_own_place(ledger: Ledger) -> None:
    leader = asked(ledger)
    before = submitted(ledger)
    follower = asked(ledger)
    after = submitted(ledger)
    ledger.cancel("acme", leader.id)
    assert [claimed(ledger).job.id for _ in range(3)] == [before, follower.id, after]


@pytest.mark.parametrize("way", ["stopped", "handed back", "retried", "crashed"])
def test_a_running_leader_that_is_canceled_is_followed_until_it_has_stopped(
    client: Any, ledger: Ledger, clock: Clock, way: str
) -> None:
    leader, follower = asked(ledger), asked(ledger)
    claim = claimed(ledger)
    ledger.cancel("acme", leader.id)
    assert leaders(ledger, follower) == [leader.id]

    if way == "stopped":
        ledger.finish(claim, Outcome(Status.CANCELED, Reason.CANCELED))
    elif way == "handed back":
        ledger.hand_back(claim)
    elif way == "retried":
        ledger.retry(claim, 1_000, FAILURE)
    else:
        clock.forward(LEASE)
        ledger.sweep()

    assert statuses(ledger, leader, follower) == [("canceled", "canceled"), WAITS]
    assert_counts_are_true(client, ledger)
    assert claimed(ledger).job.id == follower.id


@pytest.mark.parametrize("where", ["queued", "processing", "delayed", "suspect"])
def test_when_the_sweeper_ends_a_leader_by_its_deadline_a_follower_takes_its_place(
    client: Any, ledger: Ledger, clock: Clock, where: str
) -> None:
    leader = asked(ledger, deadline_ms=2 * LEASE - 1)
    follower, rest = asked(ledger), asked(ledger)
    if where == "delayed":
        ledger.retry(claimed(ledger), 10 * LEASE, FAILURE)
    elif where == "suspect":
        claimed(ledger)
    clock.forward(LEASE)
    ledger.sweep()
    if where == "processing":
        claimed(ledger)

    clock.forward(LEASE - 1)
    ledger.sweep()

    assert statuses(ledger, leader, follower, rest) == [("failed", "deadline"), WAITS, WAITS]
    assert leaders(ledger, follower, rest) == [None, follower.id]
    assert_counts_are_true(client, ledger)
    assert claimed(ledger, "w2").job.id == follower.id


@pytest.mark.parametrize("where", ["queued", "suspect"])
def test_when_a_claim_finds_a_leader_past_its_deadline_it_gives_a_follower(
    client: Any, ledger: Ledger, clock: Clock, where: str
) -> None:
    leader, follower = asked(ledger, deadline_ms=LEASE + 1), asked(ledger)
    if where == "suspect":
        claimed(ledger, "dead")
    clock.forward(LEASE)
    ledger.sweep()
    clock.forward(1)
    assert claimed(ledger).job.id == follower.id
    assert statuses(ledger, leader) == [("failed", "deadline")]
    assert_counts_are_true(client, ledger)


@pytest.mark.parametrize("at_most", [1, 2, 200])
def test_followers_past_their_deadline_take_no_place_and_end_once(
    client: Any, ledger: Ledger, clock: Clock, at_most: int
) -> None:
    late = [asked(ledger, deadline_ms=1_000) for _ in range(4)]
    good = asked(ledger)
    clock.forward(1_000)
    for _ in range(4):
        ledger.sweep(at_most)
    assert statuses(ledger, *late, good) == [("failed", "deadline")] * 4 + [WAITS]
    assert_counts_are_true(client, ledger)
    assert claimed(ledger).job.id == good.id


@pytest.mark.parametrize("reason", [Reason.DEADLINE, Reason.EXPIRED, Reason.SUPERSEDED])
def test_a_failure_that_is_the_leaders_own_is_not_its_followers(
    ledger: Ledger, reason: Reason
) -> None:
    leader, follower = asked(ledger), asked(ledger)
    ledger.finish(claimed(ledger), Outcome(Status.FAILED, reason))
    assert statuses(ledger, leader, follower) == [("failed", reason.value), WAITS]
    assert claimed(ledger).job.id == follower.id


def test_when_all_have_gone_the_next_who_asks_leads(client: Any, ledger: Ledger) -> None:
    for job in [asked(ledger) for _ in range(3)]:
        ledger.cancel("acme", job.id)
    assert not client.keys(f"{PREFIX}same:*")
    assert asked(ledger).deduplicated_from is None


def test_a_follower_of_a_higher_class_raises_a_leader_that_waits(
    client: Any, ledger: Ledger
) -> None:
    leader = asked(ledger, priority=Priority.LOW)
    submitted(ledger, priority=Priority.HIGH)
    asked(ledger, priority=Priority.HIGH)
    assert now(ledger, leader).priority is Priority.HIGH
    assert ledger.queued(MODEL) == {"low": 0, "high": 2}
    assert_counts_are_true(client, ledger)
    assert claimed(ledger).job.id == leader.id, "it keeps its own age"


def test_a_follower_of_a_lower_class_changes_nothing(ledger: Ledger) -> None:
    leader = asked(ledger, priority=Priority.NORMAL)
    follower = asked(ledger, priority=Priority.LOW)
    assert now(ledger, leader).priority is Priority.NORMAL
    assert now(ledger, follower).priority is Priority.LOW


@pytest.mark.parametrize("where", ["delayed", "suspect", "processing"])
def test_a_leader_that_comes_back_waits_in_the_class_it_was_raised_to(
    client: Any, ledger: Ledger, clock: Clock, where: str
) -> None:
    leader = asked(ledger, priority=Priority.LOW)
    claim = claimed(ledger)
    if where == "delayed":
        ledger.retry(claim, 1_000, FAILURE)
    elif where == "suspect":
        clock.forward(LEASE)
        ledger.sweep()
    asked(ledger, priority=Priority.HIGH)
    assert_counts_are_true(client, ledger)
    if where == "processing":
        ledger.hand_back(claim)
    clock.forward(1_000)
    ledger.sweep()
    assert now(ledger, leader).priority is Priority.HIGH
    assert_counts_are_true(client, ledger)
    assert claimed(ledger).job.id == leader.id


def test_a_promoted_job_has_the_highest_class_of_those_it_leads(
    client: Any, ledger: Ledger
) -> None:
    leader, heir, *_ = [
        asked(ledger, priority=priority)
        for priority in (Priority.HIGH, Priority.LOW, Priority.NORMAL, Priority.LOW)
    ]
    ledger.cancel("acme", leader.id)
    assert now(ledger, heir).priority is Priority.NORMAL
    assert ledger.queued(MODEL)["normal"] == 1
    assert_counts_are_true(client, ledger)


def test_a_follower_is_promoted_however_full_the_queue_is(new_ledger: NewLedger) -> None:
    ledger = new_ledger(tenant_queue=2)
    leader, follower = asked(ledger), asked(ledger)
    ledger.cancel("acme", leader.id)
    assert claimed(ledger).job.id == follower.id
