"""This version and the one before it share a ledger while processes are replaced."""

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from jobs.deliveries import Deliveries
from jobs.job import RECORD_VERSION, Draft, Outcome, Status
from jobs.ledger import Ledger, Limits
from jobs.request import Parameters
from jobs.signals import Signals
from tests.ledgers import (
    ANSWER,
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
from tests.previous import job as before_job
from tests.previous import ledger as before
from tests.previous.request import Conversation as BeforeConversation
from tests.previous.request import Parameters as BeforeParameters

STEPS = 400
TENANTS = ("acme", "other")
LEASE = Limits().lease
LOOK_AGAIN = 30_000


class Mixed:
    """An installation of which each process is of one version or the other."""

    def __init__(self, client: Any, rng: Random) -> None:
        self.clock = Clock()
        self.now = Ledger(client, clock=self.clock)
        self.before = before.Ledger(client, clock=self.clock)
        self._rng = rng
        self.held: list[Any] = []
        self.accepted: list[tuple[str, str]] = []
        self.to_tell: set[str] = set()

    @property
    def either(self) -> Any:
        """A ledger of one version or the other."""
        return self._rng.choice([self.now, self.before])

    def submit(self) -> None:
        """Accept a job, now and then one that asks what another does."""
        tenant = self._rng.choice(TENANTS)
        asked = draft(tenant, priority=self._rng.choice(["high", "normal", "low"]))
        if self._rng.random() < 0.3:
            asked = Draft(**{**vars(asked), "conversation": draft_alike(tenant).conversation})
        ledger = self.either
        if ledger is self.now and self._rng.random() < 0.5:
            asked = Draft(**{**vars(asked), "webhook": webhook()})
            self.to_tell.add(asked.id)
        job, _ = ledger.submit(as_before(asked) if ledger is self.before else asked)
        self.accepted.append((tenant, job.id))

    def claim(self) -> None:
        """Give a job to a worker of either version."""
        claim = self.either.claim(MODEL, self._rng.choice(["w1", "w2"]))
        if claim:
            self.held.append(claim)

    def finish(self) -> None:
        """End a job by a worker of either version, whichever claimed it."""
        if claim := self._any_held():
            self.either.finish(claim, Outcome(Status.SUCCEEDED, answer={"text": "E42"}))

    def go_back(self) -> None:
        """Put a job back, or try it again."""
        if claim := self._any_held():
            if self._rng.random() < 0.5:
                self.either.hand_back(claim)
            else:
                self.either.retry(claim, 0, FAILURE)

    def cancel(self) -> None:
        """Stop a job."""
        if self.accepted:
            self.either.cancel(*self._rng.choice(self.accepted))

    def crash(self) -> None:
        """Let all leases run out."""
        self.held.clear()
        self.clock.forward(LEASE)
        self.either.sweep()

    def renew(self) -> None:
        """Renew what the workers hold."""
        for worker in ("w1", "w2"):
            mine = [c for c in self.held if c.job.attempts[-1].worker == worker]
            self.either.renew(worker, MODEL, {}, {c.job.id: c.fence for c in mine})

    def _any_held(self) -> Any:
        if not self.held:
            return None
        return self.held.pop(self._rng.randrange(len(self.held)))


def draft_alike(tenant: str) -> Draft:
    """A job that asks what every one of its tenant's alike asks."""
    return _ALIKE.setdefault(tenant, draft(tenant))


_ALIKE: dict[str, Draft] = {}


def as_before(asked: Draft) -> Any:
    """A job to submit, as the version before has it."""
    return before_job.Draft(
        tenant=asked.tenant,
        model=asked.model,
        conversation=BeforeConversation.from_data(asked.conversation.to_data()),
        parameters=BeforeParameters.from_data(asked.parameters.to_data()),
        priority=before_job.Priority(asked.priority),
        id=asked.id,
    )


def test_whichever_version_does_what_no_job_is_lost_or_ended_twice(client: Any, seed: int) -> None:
    rng = Random(seed)
    mixed = Mixed(client, rng)
    steps: list[Callable[[], None]] = [mixed.submit, mixed.claim, mixed.finish] * 3
    steps += [mixed.go_back, mixed.cancel, mixed.renew]
    for number in range(STEPS):
        rng.choice(steps)()
        if number % 100 == 99:
            mixed.crash()
    assert_counts_are_true(client, mixed.now)

    mixed.crash()
    versions: list[Any] = [mixed.before, mixed.now]
    for ledger in versions:
        for _ in range(len(mixed.accepted)):
            claim = ledger.claim(MODEL, "last")
            if claim is None:
                break
            ledger.finish(claim, Outcome(Status.SUCCEEDED, answer={"text": "E42"}))

    mixed.clock.forward(LOOK_AGAIN)
    mixed.now.sweep(at_most=STEPS)
    told = [
        d.job.id
        for d in Deliveries(client, mixed.clock).claim(
            STEPS, 1000, to_one_host=STEPS, of_one_tenant=STEPS
        )
    ]
    assert sorted(told) == sorted(mixed.to_tell), "each that has a webhook is told of, and once"

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
    assert {record["v"] for record in found.values()} == {"1", str(RECORD_VERSION)}


@pytest.fixture
def both(client: Any) -> Mixed:
    """An installation of both versions."""
    return Mixed(client, Random(0))


def test_a_record_of_the_version_before_reads_now(both: Mixed) -> None:
    asked = draft(parameters=Parameters(8, 0.5, 0.9, top_k=3, seed=7, stop=("END",)))
    both.before.submit(as_before(asked))
    job = both.now.get("acme", asked.id)
    assert job is not None
    assert (job.conversation, job.parameters) == (asked.conversation, asked.parameters)
    assert job.version == 1


def test_a_record_of_now_reads_in_the_version_before(both: Mixed) -> None:
    asked = draft(group="t", supersede=True)
    both.now.submit(asked)
    job = both.before.get("acme", asked.id)
    assert job is not None
    assert job.conversation.to_data() == asked.conversation.to_data()
    assert job.version == RECORD_VERSION


def test_a_job_of_the_version_before_can_be_erased(client: Any, both: Mixed) -> None:
    asked = draft()
    both.before.submit(as_before(asked))
    assert both.now.erase("acme", asked.id)
    assert not client.exists(f"lj:job:{asked.id}")


def test_a_job_that_a_worker_of_before_ends_is_told_by_the_sweeper(
    client: Any, both: Mixed
) -> None:
    deliveries = Deliveries(client, both.clock)
    waiting, _ = both.now.submit(draft(webhook=webhook()))
    both.now.cancel("acme", waiting.id)
    [told] = deliveries.claim(9, 10**6)
    assert told.job.id == waiting.id, "what this version ends is told at once"

    ended, _ = both.now.submit(draft(webhook=webhook()))
    claim = both.before.claim(MODEL, "w1")
    assert claim is not None
    answer = before_job.Outcome(before_job.Status.SUCCEEDED, answer={"text": "E42"})
    both.before.finish(claim, answer)
    open_job, _ = both.now.submit(draft(webhook=webhook()))
    both.now.sweep()
    assert deliveries.claim(9, 1000) == []
    both.clock.forward(LOOK_AGAIN)
    both.now.sweep()
    both.now.sweep()
    assert [d.job.id for d in deliveries.claim(9, 10**6)] == [ended.id]

    both.now.finish(claimed(both.now), ANSWER)
    both.clock.forward(LOOK_AGAIN)
    both.now.sweep()
    assert [d.job.id for d in deliveries.claim(9, 1000)] == [open_job.id]


def test_what_a_program_of_before_forgets_is_not_told(client: Any, both: Mixed) -> None:
    both.now.submit(draft(webhook=webhook()))
    both.now.finish(claimed(both.now), ANSWER)
    both.clock.forward(Limits().retention)
    both.before.sweep()
    assert records(client) == {}
    assert Deliveries(client, both.clock).claim(9, 1000) == []
    assert not client.keys("lj:deliveries:*")
    assert not client.exists("lj:receivers")


def test_a_job_with_a_trace_is_run_by_a_worker_of_before(client: Any, both: Mixed) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    job, _ = both.now.submit(draft(trace=trace))
    claim: Any = both.before.claim(MODEL, "w1")
    answer = before_job.Outcome(before_job.Status.SUCCEEDED, answer={"text": "E42"})
    both.before.finish(claim, answer)
    ended = both.now.get("acme", job.id)
    assert ended is not None
    assert (ended.status, ended.trace) == ("succeeded", trace)


def test_what_a_worker_of_before_ends_is_not_counted_and_nothing_else_is_wrong(
    client: Any, both: Mixed
) -> None:
    signals = Signals(client, LEASE, clock=both.clock, kept_s=0)
    both.now.submit(draft())
    both.before.renew("w1", MODEL, {"slots": 1}, {})
    claim: Any = both.before.claim(MODEL, "w1")
    model = signals.read().models[MODEL]
    assert (model.running, model.slots, model.last_claim_age_s) == (1, 1, None)
    both.before.finish(
        claim, before_job.Outcome(before_job.Status.SUCCEEDED, answer={"text": "E42"})
    )
    reading = signals.read()
    assert (reading.ended, reading.running, reading.models[MODEL].running) == ({}, 0, 0)
