"""This release and the one before it share a ledger while processes are replaced."""

from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from jobs.deliveries import Deliveries
from jobs.job import RECORD_VERSION, Claim, Draft, Outcome, Status
from jobs.ledger import Ledger, Limits
from jobs.request import Parameters
from llava_jobs.embedded import EmbeddedStore
from tests.conftest import absent
from tests.ledgers import (
    FAILURE,
    MODEL,
    Clock,
    assert_counts_are_true,
    claimed,
    draft,
    events,
    records,
    webhook,
)
from tests.previous import release
from tests.previous.ledger import PreviousLedger

STEPS = 400
TENANTS = ("acme", "other")
WORKERS = ("w1", "w2")
LEASE = Limits().lease
TEXT = {"text": "E42"}
ANSWER = Outcome(Status.SUCCEEDED, answer=TEXT)


@pytest.fixture
def before(store: EmbeddedStore, client: Any, clock: Clock) -> Iterator[PreviousLedger]:
    """A ledger of the release before, on the same store and by the same clock."""
    if reason := release.lacks():
        absent(reason)
    with PreviousLedger(store.url, clock) as running:
        yield running


class Mixed:
    """An installation of which each process is of one release or the other."""

    def __init__(self, now: Ledger, before: PreviousLedger, clock: Clock, rng: Random) -> None:
        self.now, self.before = now, before
        self._clock = clock
        self._rng = rng
        self._asked_alike = {tenant: draft(tenant).conversation for tenant in TENANTS}
        self.held: list[Claim] = []
        self.accepted: list[tuple[str, str]] = []
        self.to_tell: set[str] = set()

    def by_today(self) -> bool:
        """Whether today's release does the next thing."""
        return self._rng.random() < 0.5

    def submit(self) -> None:
        """Accept a job, now and then one that asks what another does or that is told of."""
        tenant = self._rng.choice(TENANTS)
        fields: dict[str, Any] = {"priority": self._rng.choice(["high", "normal", "low"])}
        if self._rng.random() < 0.3:
            fields["conversation"] = self._asked_alike[tenant]
        if self._rng.random() < 0.3:
            fields["webhook"] = webhook()
        asked = draft(tenant, **fields)
        ledger: Any = self.now if self.by_today() else self.before
        ledger.submit(asked)
        self.accepted.append((tenant, asked.id))
        if asked.webhook:
            self.to_tell.add(asked.id)

    def claim(self, worker: str | None = None) -> Claim | None:
        """Give a job to a worker of either release; either may end it."""
        worker = worker or self._rng.choice(WORKERS)
        if self.by_today():
            claim = self.now.claim(MODEL, worker)
            if claim:
                self.before.hold(claim)
        elif found := self.before.claim(MODEL, worker):
            tenant, job_id, fence = found
            job = self.now.get(tenant, job_id)
            assert job is not None
            claim = Claim(job, fence)
        else:
            claim = None
        if claim:
            self.held.append(claim)
        return claim

    def finish(self) -> None:
        """End a job by a worker of either release, whichever claimed it."""
        if claim := self._any_held():
            if self.by_today():
                self.now.finish(claim, ANSWER)
            else:
                self.before.finish(claim.fence, TEXT)

    def go_back(self) -> None:
        """Put a job back, or try it again."""
        if not (claim := self._any_held()):
            return
        hands_back = self._rng.random() < 0.5
        if self.by_today():
            self.now.hand_back(claim) if hands_back else self.now.retry(claim, 0, FAILURE)
        elif hands_back:
            self.before.hand_back(claim.fence)
        else:
            self.before.retry(claim.fence, FAILURE)

    def cancel(self) -> None:
        """Stop a job."""
        if self.accepted:
            ledger: Any = self.now if self.by_today() else self.before
            ledger.cancel(*self._rng.choice(self.accepted))

    def crash(self) -> None:
        """Let all leases run out."""
        self.held.clear()
        self._clock.forward(LEASE)
        ledger: Any = self.now if self.by_today() else self.before
        ledger.sweep()

    def renew(self) -> None:
        """Renew what the workers hold."""
        for worker in WORKERS:
            mine = {c.job.id: c.fence for c in self.held if c.job.attempts[-1].worker == worker}
            ledger: Any = self.now if self.by_today() else self.before
            ledger.renew(worker, MODEL, {}, mine)

    def _any_held(self) -> Claim | None:
        return self.held.pop(self._rng.randrange(len(self.held))) if self.held else None


def test_whichever_release_does_what_no_job_is_lost_or_ended_or_told_twice(
    client: Any, ledger: Ledger, before: PreviousLedger, clock: Clock, seed: int
) -> None:
    rng = Random(seed)
    mixed = Mixed(ledger, before, clock, rng)
    steps: list[Callable[[], object]] = [mixed.submit, mixed.claim, mixed.finish] * 3
    steps += [mixed.go_back, mixed.cancel, mixed.renew]
    for number in range(STEPS):
        rng.choice(steps)()
        if number % 100 == 99:
            mixed.crash()
    assert_counts_are_true(client, ledger)

    mixed.crash()
    while mixed.claim("last"):
        mixed.finish()

    told = Deliveries(client, clock).claim(STEPS, 1000, to_one_host=STEPS, of_one_tenant=STEPS)
    assert sorted(delivery.job.id for delivery in told) == sorted(mixed.to_tell)

    found = records(client)
    assert set(found) == {job_id for _, job_id in mixed.accepted}
    assert {Status(record["status"]).is_terminal for record in found.values()} == {True}
    ends = Counter(
        job_id
        for tenant in TENANTS
        for job_id, status, _ in events(client, tenant)
        if Status(status).is_terminal
    )
    assert set(ends) == set(found)
    assert set(ends.values()) == {1}


def full(**fields: Any) -> Draft:
    """A job that uses all that a job can say."""
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    parameters = Parameters(8, 0.5, 0.9, top_k=3, seed=7, stop=("END",))
    return draft(group="t", supersede=True, trace=trace, parameters=parameters, **fields)


def test_a_record_of_the_release_before_reads_now(ledger: Ledger, before: PreviousLedger) -> None:
    asked = full()
    before.submit(asked)
    job = ledger.get("acme", asked.id)
    assert job is not None
    assert (job.conversation, job.parameters) == (asked.conversation, asked.parameters)
    assert (job.group, job.trace) == (asked.group, asked.trace)
    assert job.version <= RECORD_VERSION


def test_a_record_of_now_reads_in_the_release_before(
    ledger: Ledger, before: PreviousLedger
) -> None:
    asked = full()
    ledger.submit(asked)
    job = before.read("acme", asked.id)
    assert job is not None
    assert job["conversation"] == asked.conversation.to_data()
    assert Parameters.from_data(job["parameters"]) == asked.parameters
    assert (job["trace"], job["version"]) == (asked.trace, RECORD_VERSION)


def test_an_answer_of_either_release_reads_in_the_other(
    ledger: Ledger, before: PreviousLedger
) -> None:
    by_now, by_before = draft(), draft()
    ledger.submit(by_now)
    ledger.finish(claimed(ledger), ANSWER)
    read = before.read("acme", by_now.id)
    assert read is not None
    assert (read["status"], read["answer"]) == ("succeeded", TEXT)

    before.submit(by_before)
    found = before.claim(MODEL, "w1")
    assert found is not None
    assert before.finish(found[2], TEXT)
    job = ledger.get("acme", by_before.id)
    assert job is not None
    assert (job.status, job.answer) == ("succeeded", TEXT)


def test_either_release_erases_the_others_jobs(
    client: Any, ledger: Ledger, before: PreviousLedger
) -> None:
    one, other = draft(), draft()
    before.submit(one)
    ledger.submit(other)
    assert ledger.erase("acme", one.id)
    assert before.erase("acme", other.id)
    assert records(client) == {}


def test_what_the_release_before_forgets_is_not_told(
    client: Any, ledger: Ledger, before: PreviousLedger, clock: Clock
) -> None:
    ledger.submit(draft(webhook=webhook()))
    ledger.finish(claimed(ledger), ANSWER)
    [job_id] = before.deliveries()
    assert before.erase("acme", job_id)
    clock.forward(Limits().retention)
    before.sweep()
    assert records(client) == {}
    assert Deliveries(client, clock).claim(9, 1000) == []


def test_what_the_release_before_ends_is_told_by_this_one_and_the_other_way_round(
    client: Any, ledger: Ledger, before: PreviousLedger, clock: Clock
) -> None:
    one, other = draft(webhook=webhook()), draft(webhook=webhook())
    ledger.submit(one)
    found = before.claim(MODEL, "w1")
    assert found is not None
    before.finish(found[2], TEXT)
    assert [d.job.id for d in Deliveries(client, clock).claim(9, 10**6)] == [one.id]

    before.submit(other)
    ledger.finish(claimed(ledger), ANSWER)
    assert before.deliveries() == [other.id]
