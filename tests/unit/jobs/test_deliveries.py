"""No end of a job goes without its delivery, and none has two."""

from collections.abc import Callable
from typing import Any

import pytest

from jobs.deliveries import Deliveries, Delivery, Verdict
from jobs.errors import Conflict
from jobs.job import Outcome, Reason, Status
from jobs.ledger import Ledger, Limits
from jobs.scripts import PREFIX
from jobs.webhook import Attempt, Told
from tests.ledgers import (
    ANSWER,
    FAILURE,
    MODEL,
    Clock,
    asked,
    claimed,
    draft,
    everything,
    status_of,
    submitted,
    webhook,
)

LEASE = 60_000
HOUR = 3_600_000
DAY = 24 * HOUR


@pytest.fixture
def deliveries(client: Any, clock: Clock) -> Deliveries:
    """The deliveries of the store, by the test's clock."""
    return Deliveries(client, clock)


def due(deliveries: Deliveries, most: int = 100, **bounds: int) -> list[Delivery]:
    """What a sender is given."""
    return deliveries.claim(most, LEASE, **{"to_one_host": 100, "of_one_tenant": 100, **bounds})


def told(deliveries: Deliveries, job_id: str) -> Delivery:
    """The delivery of a job as it stands."""
    found = deliveries.of("acme", job_id)
    assert found
    return found[0]


def succeed(ledger: Ledger) -> str:
    """Have a job answered that has a webhook, and return its id."""
    job_id = submitted(ledger, webhook=webhook())
    ledger.finish(claimed(ledger), ANSWER)
    return job_id


ENDS: dict[str, Callable[[Ledger, Clock], None]] = {
    "answered": lambda ledger, _: finish(ledger, ANSWER),
    "failed": lambda ledger, _: finish(ledger, Outcome(Status.FAILED, Reason.ERROR, error=FAILURE)),
    "refused": lambda ledger, _: finish(ledger, Outcome(Status.FAILED, Reason.REFUSED)),
    "tries used up": lambda ledger, _: retry(ledger),
    "canceled while it waits": lambda ledger, _: cancel(ledger),
    "canceled while it runs": lambda ledger, _: cancel_running(ledger),
    "canceled and handed back": lambda ledger, _: cancel_running(ledger, hands_back=True),
    "past its deadline, found by the sweeper": lambda ledger, clock: lapse(ledger, clock),
    "past its deadline, found by a claim": lambda ledger, clock: lapse_claimed(ledger, clock),
    "past its deadline while it runs": lambda ledger, clock: lapse_running(ledger, clock),
    "poison, by leases": lambda ledger, clock: poison(ledger, clock),
    "poison, by the worker's word": lambda ledger, _: crash(ledger),
    "superseded": lambda ledger, _: supersede(ledger),
}


def finish(ledger: Ledger, outcome: Outcome) -> None:
    """Have a worker end the job."""
    assert ledger.finish(claimed(ledger), outcome)


def retry(ledger: Ledger) -> None:
    """Have a worker fail at the job until it may no more."""
    for _ in range(Limits().attempts):
        claim = claimed(ledger)
        assert ledger.retry(claim, 0, FAILURE)
        ledger.sweep()


def cancel(ledger: Ledger) -> None:
    """Stop the job."""
    assert ledger.cancel("acme", THE_JOB)


def cancel_running(ledger: Ledger, *, hands_back: bool = False) -> None:
    """Stop the job in a worker's hands."""
    claim = claimed(ledger)
    cancel(ledger)
    if hands_back:
        assert ledger.hand_back(claim)
    else:
        assert ledger.finish(claim, Outcome(Status.CANCELED, Reason.CANCELED))


def lapse(ledger: Ledger, clock: Clock) -> None:
    """Let the job's time pass."""
    clock.forward(DAY)
    ledger.sweep()


def lapse_claimed(ledger: Ledger, clock: Clock) -> None:
    """Let the job's time pass until a worker looks for work."""
    clock.forward(DAY)
    assert ledger.claim(MODEL, "w1") is None


def lapse_running(ledger: Ledger, clock: Clock) -> None:
    """Let the job's time pass in a worker's hands."""
    claimed(ledger)
    lapse(ledger, clock)


def poison(ledger: Ledger, clock: Clock) -> None:
    """Have workers die of the job."""
    for _ in range(Limits().crashes):
        claimed(ledger)
        clock.forward(Limits().lease)
        ledger.sweep()


def crash(ledger: Ledger) -> None:
    """Have workers break down with the job."""
    for _ in range(Limits().crashes):
        assert ledger.crash(claimed(ledger), "stalled")


def supersede(ledger: Ledger) -> None:
    """Ask something newer in the job's group."""
    submitted(ledger, group="t", supersede=True)


THE_JOB = "job_" + "1" * 32


@pytest.mark.parametrize("end", ENDS)
def test_however_a_job_ends_its_end_is_to_be_told_once(
    ledger: Ledger, clock: Clock, deliveries: Deliveries, end: str
) -> None:
    ledger.submit(draft(id=THE_JOB, group="t", deadline_ms=HOUR, webhook=webhook()))
    assert due(deliveries) == []
    assert deliveries.of("acme", THE_JOB) == ()
    ENDS[end](ledger, clock)
    [delivery] = due(deliveries)
    assert delivery.job.id == THE_JOB
    assert delivery.job.status.is_terminal
    assert delivery.id == "msg_" + "1" * 32
    assert delivery.webhook == webhook()
    assert due(deliveries) == []
    assert deliveries.note(delivery, 200, Verdict.DELIVERED, 0)
    clock.forward(10 * LEASE)
    ledger.sweep()
    assert due(deliveries) == []
    job = ledger.get("acme", THE_JOB)
    assert job
    assert job.webhook_status is Told.DELIVERED


def test_those_that_follow_a_job_are_told_each_on_its_own(
    ledger: Ledger, deliveries: Deliveries
) -> None:
    asked(ledger)
    first = asked(ledger, webhook=webhook("https://a.test/"))
    second = asked(ledger, webhook=webhook("https://b.test/"))
    ledger.finish(claimed(ledger), ANSWER)
    assert {d.job.id: d.webhook.url for d in due(deliveries)} == {
        first.id: "https://a.test/",
        second.id: "https://b.test/",
    }


def test_a_job_that_is_answered_as_it_is_accepted_is_told(
    ledger: Ledger, deliveries: Deliveries
) -> None:
    asked(ledger)
    ledger.finish(claimed(ledger), ANSWER)
    job = asked(ledger, webhook=webhook())
    assert job.status is Status.SUCCEEDED
    assert job.webhook_status is Told.PENDING
    assert [d.job.id for d in due(deliveries)] == [job.id]


def test_a_job_without_a_webhook_has_no_delivery(ledger: Ledger, deliveries: Deliveries) -> None:
    job_id = submitted(ledger)
    ledger.finish(claimed(ledger), ANSWER)
    assert due(deliveries) == []
    assert deliveries.of("acme", job_id) == ()
    with pytest.raises(Conflict) as raised:
        deliveries.send_again("acme", job_id)
    assert raised.value.code == "webhook_missing"


@pytest.mark.parametrize(
    ("events", "is_told"),
    [
        (("completed",), True),
        (("succeeded",), True),
        (("failed", "succeeded"), True),
        (("completed", "succeeded"), True),
        (("failed", "canceled"), False),
    ],
)
def test_only_ends_that_are_asked_for_are_told(
    ledger: Ledger, deliveries: Deliveries, events: tuple[str, ...], is_told: bool
) -> None:
    submitted(ledger, webhook=webhook("https://hook.test/", *events))
    ledger.finish(claimed(ledger), ANSWER)
    assert len(due(deliveries)) == is_told


def test_a_sender_that_died_is_replaced_when_its_lease_has_run_out(
    ledger: Ledger, clock: Clock, deliveries: Deliveries
) -> None:
    succeed(ledger)
    [dead] = due(deliveries)
    clock.forward(LEASE - 1)
    assert due(deliveries) == []
    clock.forward(1)
    [again] = due(deliveries)
    assert again.id == dead.id
    assert not deliveries.note(dead, 500, Verdict.RETRY, 0), "it comes back too late"
    assert deliveries.note(again, 200, Verdict.DELIVERED, 0)
    assert told(deliveries, again.job.id).attempts == (Attempt(clock.now, 200),)


def test_an_outcome_that_is_noted_twice_counts_once(ledger: Ledger, deliveries: Deliveries) -> None:
    succeed(ledger)
    [delivery] = due(deliveries)
    assert deliveries.note(delivery, 500, Verdict.RETRY, 1000)
    assert not deliveries.note(delivery, 500, Verdict.RETRY, 9000)
    assert len(told(deliveries, delivery.job.id).attempts) == 1


def test_attempts_are_kept_with_what_came_of_them(
    ledger: Ledger, clock: Clock, deliveries: Deliveries
) -> None:
    job_id = succeed(ledger)
    started = clock.now
    [delivery] = due(deliveries)
    deliveries.note(delivery, 500, Verdict.RETRY, 5_000)
    assert told(deliveries, job_id).next_at == started + 5_000
    assert due(deliveries) == []
    clock.forward(5_000)
    [delivery] = due(deliveries)
    assert delivery.tries == 2
    deliveries.note(delivery, "timed_out", Verdict.RETRY, 7_000)
    found = told(deliveries, job_id)
    assert found.attempts == (
        Attempt(started, 500, None),
        Attempt(started + 5_000, None, "timed_out"),
    )
    assert (found.status, found.next_at) == (Told.PENDING, clock.now + 7_000)


def test_a_receiver_is_given_up_after_three_days(
    ledger: Ledger, clock: Clock, deliveries: Deliveries
) -> None:
    job_id = succeed(ledger)
    ended = clock.now
    while told(deliveries, job_id).status is Told.PENDING:
        [delivery] = due(deliveries)
        deliveries.note(delivery, 503, Verdict.RETRY, 6 * HOUR)
        ledger.sweep()
        clock.forward(6 * HOUR)
    assert told(deliveries, job_id).next_at is None
    assert clock.now - ended == 3 * DAY + 6 * HOUR
    assert due(deliveries) == []
    assert status_of(ledger, job_id) == ("succeeded", None), "the job does not mind"


def test_what_no_sender_takes_for_three_days_is_given_up(
    ledger: Ledger, clock: Clock, deliveries: Deliveries
) -> None:
    job_id = succeed(ledger)
    clock.forward(3 * DAY + 1)
    assert due(deliveries) == []
    assert told(deliveries, job_id).status is Told.FAILED


def test_a_job_is_kept_until_its_end_has_been_told_and_an_hour_longer(
    ledger: Ledger, clock: Clock, deliveries: Deliveries
) -> None:
    job_id = succeed(ledger)
    for _ in range(30):
        clock.forward(HOUR)
        ledger.sweep()
    assert ledger.get("acme", job_id), "its retention of a day is over, but it is to be told yet"
    [delivery] = due(deliveries)
    deliveries.note(delivery, 200, Verdict.DELIVERED, 0)
    clock.forward(HOUR - 1)
    ledger.sweep()
    job = ledger.get("acme", job_id)
    assert job
    assert job.expires_at == clock.now + 1
    clock.forward(1)
    ledger.sweep()
    assert ledger.get("acme", job_id) is None


def test_a_store_without_senders_does_not_fill_up(
    client: Any, ledger: Ledger, clock: Clock
) -> None:
    succeed(ledger)
    for _ in range(80):
        clock.forward(HOUR)
        ledger.sweep()
    assert not client.keys(f"{PREFIX}job:*")
    assert not client.keys(f"{PREFIX}deliveries:*")


def test_a_url_that_is_gone_is_told_nothing_more_until_it_is_enabled(
    ledger: Ledger, clock: Clock, deliveries: Deliveries
) -> None:
    ids = [succeed(ledger) for _ in range(3)]
    first = due(deliveries, most=1)[0]
    other = submitted(ledger, "other", webhook=webhook())
    ledger.finish(claimed(ledger), ANSWER)
    deliveries.note(first, 410, Verdict.GONE, 0)
    assert [d.job.id for d in due(deliveries)] == [other], "another tenant has not been told that"
    ids.append(succeed(ledger))
    assert due(deliveries) == []
    assert {told(deliveries, job_id).status for job_id in ids} == {Told.DISABLED}
    with pytest.raises(Conflict) as raised:
        deliveries.send_again("acme", ids[1])
    assert raised.value.code == "webhook_disabled"

    assert not deliveries.enable("acme", "https://elsewhere.test/")
    assert deliveries.enable("acme", webhook().url)
    assert not deliveries.enable("acme", webhook().url)
    assert deliveries.send_again("acme", ids[1])
    assert [d.job.id for d in due(deliveries)] == [ids[1]]


def test_an_end_is_told_again_under_the_same_id(
    ledger: Ledger, clock: Clock, deliveries: Deliveries
) -> None:
    job_id = succeed(ledger)
    [first] = due(deliveries)
    assert deliveries.send_again("acme", job_id), "it is under way: nothing to do"
    assert due(deliveries) == []
    deliveries.note(first, 500, Verdict.RETRY, HOUR)
    assert deliveries.send_again("acme", job_id), "it waits no longer"
    [second] = due(deliveries)
    deliveries.note(second, 200, Verdict.DELIVERED, 0)
    assert deliveries.send_again("acme", job_id), "it was told, and is told once more"
    [third] = due(deliveries)
    assert {first.id, second.id, third.id} == {first.id}
    assert third.tries == 1
    assert [a.status for a in third.attempts] == [500, 200]


def test_only_what_has_ended_and_is_ones_own_can_be_told_again(
    ledger: Ledger, deliveries: Deliveries
) -> None:
    job_id = submitted(ledger, webhook=webhook())
    with pytest.raises(Conflict) as raised:
        deliveries.send_again("acme", job_id)
    assert raised.value.code == "job_not_ended"
    assert not deliveries.send_again("other", job_id)
    assert not deliveries.send_again("acme", "job_none")
    assert deliveries.of("other", job_id) is None
    assert deliveries.of("acme", "job_none") is None


@pytest.mark.parametrize("when", ["open", "waiting", "under way", "told"])
def test_erasing_a_job_leaves_nothing_of_its_delivery(
    client: Any, ledger: Ledger, deliveries: Deliveries, when: str
) -> None:
    before = everything(client)
    job_id = submitted(ledger, webhook=webhook("https://canary.test/"))
    delivery = None
    if when != "open":
        ledger.finish(claimed(ledger), ANSWER)
    if when in {"under way", "told"}:
        [delivery] = due(deliveries)
    if when == "told":
        assert delivery
        deliveries.note(delivery, 200, Verdict.DELIVERED, 0)
    assert ledger.erase("acme", job_id)
    if delivery:
        assert not deliveries.note(delivery, 500, Verdict.RETRY, 0)
    assert due(deliveries) == []
    left = {key: value for key, value in everything(client).items() if key not in before}
    assert not any(b"canary" in key + value for key, value in left.items())
    assert not any(job_id.encode() in key + value for key, value in left.items())


def test_hosts_take_turns_and_none_has_more_than_its_share(
    ledger: Ledger, clock: Clock, deliveries: Deliveries
) -> None:
    for _ in range(20):
        submitted(ledger, webhook=webhook("https://slow.test/a"))
        ledger.finish(claimed(ledger), ANSWER)
    for host in ("one", "two"):
        clock.forward(1)
        submitted(ledger, webhook=webhook(f"https://{host}.test/"))
        ledger.finish(claimed(ledger), ANSWER)
    taken = due(deliveries, most=8, to_one_host=4)
    assert sorted(d.webhook.host for d in taken) == ["one.test", *["slow.test"] * 4, "two.test"]
    assert due(deliveries, most=8, to_one_host=4) == []
    slow = [d for d in taken if d.webhook.host == "slow.test"]
    deliveries.note(slow[0], 200, Verdict.DELIVERED, 0)
    assert len(due(deliveries, most=8, to_one_host=4)) == 1


def test_a_host_with_much_to_hear_does_not_keep_others_waiting(
    ledger: Ledger, clock: Clock, deliveries: Deliveries
) -> None:
    for number in range(30):
        submitted(ledger, webhook=webhook(f"https://h{number % 3}.test/"))
        ledger.finish(claimed(ledger), ANSWER)
    served = []
    for _ in range(9):
        clock.forward(1)
        [delivery] = due(deliveries, most=1, to_one_host=4)
        deliveries.note(delivery, 200, Verdict.DELIVERED, 0)
        served.append(delivery.webhook.host)
    assert {host: served.count(host) for host in set(served)} == {
        "h0.test": 3,
        "h1.test": 3,
        "h2.test": 3,
    }


def test_a_tenant_with_many_slow_hosts_does_not_keep_others_waiting(
    ledger: Ledger, clock: Clock, deliveries: Deliveries
) -> None:
    for number in range(10):
        submitted(ledger, webhook=webhook(f"https://slow{number}.test/"))
        ledger.finish(claimed(ledger), ANSWER)
    clock.forward(1)
    submitted(ledger, "other", webhook=webhook())
    ledger.finish(claimed(ledger), ANSWER)
    taken = due(deliveries, most=6, of_one_tenant=3)
    assert [d.job.tenant for d in taken] == ["acme"] * 3 + ["other"]
    clock.forward(1000)
    assert due(deliveries, of_one_tenant=3) == []
    deliveries.note(taken[0], 200, Verdict.DELIVERED, 0)
    clock.forward(1000)
    assert len(due(deliveries, of_one_tenant=3)) == 1
    clock.forward(LEASE)
    again = [d.job.tenant for d in due(deliveries, of_one_tenant=3)]
    assert again.count("acme") == 3, "what a dead sender had counts no more"


def is_gone(ledger: Ledger, deliveries: Deliveries, url: str, tenant: str = "acme") -> None:
    """Have a receiver answer that it is gone."""
    submitted(ledger, tenant, webhook=webhook(url))
    ledger.finish(claimed(ledger), ANSWER)
    [delivery] = deliveries.claim(9, 1000)
    deliveries.note(delivery, 410, Verdict.GONE, 0)


def test_that_a_url_is_gone_is_known_for_a_month(
    client: Any, ledger: Ledger, deliveries: Deliveries, clock: Clock
) -> None:
    month = 30 * DAY
    is_gone(ledger, deliveries, "https://hook.test/other", "other")
    is_gone(ledger, deliveries, "https://hook.test/first")
    clock.forward(month - 1)
    is_gone(ledger, deliveries, "https://hook.test/second")
    assert client.hlen(f"{PREFIX}gone:acme") == 2
    clock.forward(1)
    is_gone(ledger, deliveries, "https://hook.test/third")
    assert client.hlen(f"{PREFIX}gone:acme") == client.zcard(f"{PREFIX}gone-since:acme") == 2
    assert not client.exists(f"{PREFIX}gone:other", f"{PREFIX}gone-since:other")
    assert client.zrange(f"{PREFIX}gone-tenants", 0, -1) == [b"acme"]
    for name in ("gone:acme", "gone-since:acme", "gone-tenants"):
        assert month - 60_000 < client.pttl(f"{PREFIX}{name}") <= month
    assert deliveries.enable("acme", "https://hook.test/third")
    assert client.hlen(f"{PREFIX}gone:acme") == client.zcard(f"{PREFIX}gone-since:acme") == 1
