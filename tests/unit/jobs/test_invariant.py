"""Whatever happens in whatever order: accepted = succeeded + failed + canceled + open, each once.

Random calls go to the real ledger and to a model of it in plain Python, and must agree.
"""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from jobs.job import Claim, Outcome, Priority, Reason, Status
from jobs.ledger import Ledger, Limits
from jobs.request import Conversation, Parameters, Turn
from jobs.scripts import PREFIX
from tests.ledgers import (
    FAILURE,
    MODEL,
    Clock,
    assert_counts_are_true,
    draft,
    events,
    records,
    webhook,
)
from tests.unit.jobs.model import Known, Model

LIMITS = Limits(queue_lifetime=1_000_000, retention=10**9, lease=20_000, crashes=3, attempts=3)
TENANTS = ("a", "b", "c")
WORKERS = ("w1", "w2", "w3")
WORK: dict[str, Any] = {
    "of its own": {},
    "repeatable": {"parameters": Parameters()},
    "sampled": {"parameters": Parameters(temperature=0.7)},
}
SAME = Conversation((Turn("user", ("What is the error code?",)),))
ENDS = [
    (Status.SUCCEEDED, None),
    (Status.SUCCEEDED, None),
    (Status.FAILED, Reason.ERROR),
    (Status.FAILED, Reason.REFUSED),
    (Status.FAILED, Reason.DEADLINE),
]


class Life(RuleBasedStateMachine):
    """The life of a ledger, call by call."""

    claims = Bundle("claims")

    def __init__(self, client: Any) -> None:
        super().__init__()
        self.client = client
        self.clock = Clock()
        self.ledger = Ledger(client, LIMITS, clock=self.clock)
        self.model = Model()
        self.jobs = self.model.jobs
        self.accepted = 0

    @initialize()
    def begin(self) -> None:
        """Begin with an empty store."""
        self.client.flushall()

    @rule(
        tenant=st.sampled_from(TENANTS),
        priority=st.sampled_from(Priority),
        deadline_ms=st.sampled_from([None, None, None, 90_000]),
        work=st.sampled_from([*WORK, "repeatable", "sampled"]),
        cache=st.sampled_from([True, True, True, False]),
        count=st.integers(1, 2),
    )
    def submit(
        self,
        tenant: str,
        priority: Priority,
        deadline_ms: int | None,
        work: str,
        cache: bool,
        count: int,
    ) -> None:
        """Accept some jobs."""
        fields = {**WORK[work], "conversation": SAME} if WORK[work] else {}
        shared = (tenant, work) if fields and cache else None
        for _ in range(count):
            number = self.accepted = self.accepted + 1
            asked = draft(
                tenant,
                id=f"job_{number:032x}",
                priority=priority,
                deadline_ms=deadline_ms,
                cache=cache,
                webhook=webhook() if number % 2 else None,
                **fields,
            )
            self.ledger.submit(asked)
            due = self.clock.now + (deadline_ms or LIMITS.queue_lifetime)
            timed = deadline_ms is not None
            self.model.accept(Known(asked.id, tenant, priority, number, due, timed, shared))

    @rule(target=claims, worker=st.sampled_from(WORKERS), count=st.integers(1, 3))
    def claim(self, worker: str, count: int) -> Any:
        """Give a worker some jobs."""
        return multiple(*self._claimed(worker, count))

    @rule(claim=claims, end=st.sampled_from(ENDS))
    def finish(self, claim: Claim, end: tuple[Status, Reason | None]) -> None:
        """End a job, or try to with a token that is worth nothing any more."""
        done = self.ledger.finish(claim, Outcome(*end, answer={"by": claim.job.id}))
        assert done == self._holds(claim)
        if done:
            self.model.end(self._job(claim), *end, self.clock.now)

    @rule(worker=st.sampled_from(WORKERS), ends=st.lists(st.sampled_from(ENDS), min_size=1))
    def answer(self, worker: str, ends: list[tuple[Status, Reason | None]]) -> None:
        """Have a worker take jobs and end them, one after the other."""
        for end in ends:
            for claim in self._claimed(worker, 1):
                self.finish(claim, end)

    @rule(
        tenant=st.sampled_from(TENANTS),
        work=st.sampled_from(["repeatable", "sampled"]),
        priorities=st.lists(st.sampled_from(Priority), min_size=2, max_size=5),
        deadline_ms=st.sampled_from([None, 90_000]),
        cancel=st.integers(0, 3),
    )
    def ask_alike(
        self,
        tenant: str,
        work: str,
        priorities: list[Priority],
        deadline_ms: int | None,
        cancel: int,
    ) -> None:
        """Accept jobs that ask the same, and cancel some of them, the leader first."""
        before = set(self.jobs)
        for number, priority in enumerate(priorities):
            self.submit(tenant, priority, None if number else deadline_ms, work, True, 1)
        for job in [job for i, job in self.jobs.items() if i not in before][:cancel]:
            self._cancel(job)

    @rule(
        tenant=st.sampled_from(TENANTS),
        work=st.sampled_from(["repeatable", "sampled"]),
        worker=st.sampled_from(WORKERS),
    )
    def ask_again(self, tenant: str, work: str, worker: str) -> None:
        """Accept jobs that ask the same, while others wait and when they have been answered."""
        self.submit(tenant, Priority.HIGH, None, work, True, 2)
        self.answer(worker, [ENDS[0]] * 6)
        self.submit(tenant, Priority.HIGH, None, work, True, 2)

    @rule(worker=st.sampled_from(WORKERS))
    def poison(self, worker: str) -> None:
        """Have a worker crash until what it runs is taken for poison."""
        for _ in range(LIMITS.crashes):
            self._claimed(worker, 1)
            self.crash()

    @rule(claim=claims, way=st.sampled_from(["stopped", "handed back", "retried"]))
    def cancel_running(self, claim: Claim, way: str) -> None:
        """Cancel a running job, whose worker may be about to let it go for another reason."""
        if not self._holds(claim):
            return
        job = self._job(claim)
        assert self.ledger.cancel(job.tenant, claim.job.id)
        job.unwanted = True
        if way == "stopped":
            assert self.ledger.finish(claim, Outcome(Status.CANCELED, Reason.CANCELED))
            self.model.end(job, Status.CANCELED, Reason.CANCELED, self.clock.now)
        elif way == "handed back":
            self.hand_back(claim)
        else:
            self.retry(claim, 1_000)

    @rule(claim=claims)
    def hand_back(self, claim: Claim) -> None:
        """Put a job back in its place."""
        done = self.ledger.hand_back(claim)
        assert done == self._holds(claim)
        if done:
            self._job(claim).tries -= 1
            self.model.go_back(self._job(claim), 0, self.clock.now)

    @rule(claim=claims, wait_ms=st.sampled_from([0, 1_000, 30_000]))
    def retry(self, claim: Claim, wait_ms: int) -> None:
        """Try a job again later, or fail it after its last try."""
        done = self.ledger.retry(claim, wait_ms, FAILURE)
        assert done == self._holds(claim)
        if not done:
            return
        job = self._job(claim)
        if job.tries >= LIMITS.attempts:
            self.model.end(job, Status.FAILED, Reason.ERROR, self.clock.now)
        else:
            ready = self.clock.now + wait_ms if wait_ms else 0
            self.model.go_back(job, ready, self.clock.now)

    @rule(claim=claims, worker=st.sampled_from(WORKERS))
    def lose(self, claim: Claim, worker: str) -> None:
        """Hand a job back, give it or another to a worker, and use the old token."""
        if self._holds(claim):
            self.hand_back(claim)
            self.claim(worker, 2)
        assert not self.ledger.finish(claim, Outcome(Status.SUCCEEDED))
        assert not self.ledger.hand_back(claim)

    @rule(worker=st.sampled_from(WORKERS))
    def renew(self, worker: str) -> None:
        """Renew all that a worker holds, and one job that it does not."""
        held = {job.id: job for job in self.model.held_by(worker)}
        claims = {job_id: job.fence for job_id, job in held.items()}
        renewal = self.ledger.renew(worker, MODEL, {}, {**claims, "job_of_the_past": 1})
        assert renewal.lost == {"job_of_the_past"}
        assert renewal.unwanted == {job_id for job_id, job in held.items() if job.unwanted}
        for job in held.values():
            job.lease = self.clock.now + LIMITS.lease

    @rule(pick=st.randoms(use_true_random=False), mine=st.integers(0, 3))
    def cancel(self, pick: Any, mine: int) -> None:
        """Cancel a job, most often one that is open and one's own."""
        open_jobs = [job_id for job_id, job in self.jobs.items() if job.is_open]
        if not self.jobs:
            return
        job_id = pick.choice(open_jobs or sorted(self.jobs))
        job = self.jobs[job_id]
        if not mine:
            assert self.ledger.cancel(f"not-{job.tenant}", job_id) is None
            return
        self._cancel(job)

    @rule(milliseconds=st.sampled_from([1, 1_000, 5_000, 20_000, 400_000]))
    def forward(self, milliseconds: int) -> None:
        """Let time pass."""
        self.clock.forward(milliseconds)

    @precondition(lambda self: any(job.is_held for job in self.jobs.values()))
    @rule()
    def crash(self) -> None:
        """Let every lease run out."""
        self.clock.forward(LIMITS.lease)
        self.sweep()

    @rule(claim=claims)
    def break_down(self, claim: Claim) -> None:
        """Have a worker say that it breaks down with a job in its hands."""
        done = self.ledger.crash(claim, "engine_stalled")
        assert done == self._holds(claim)
        if done:
            self._crashed(self._job(claim))

    @rule(worker=st.sampled_from(WORKERS))
    def lose_a_claims_reply(self, worker: str) -> None:
        """Have a worker renew what it knows of, of all that it was given half a lease ago."""
        unheard = self._claimed(worker, 1)
        self.clock.forward(LIMITS.lease // 2)
        held = self.model.held_by(worker)
        known = {j.id: j.fence for j in held if not any(j.id == c.job.id for c in unheard)}
        self.ledger.renew(worker, MODEL, {}, known)
        for job in held:
            if job.id in known:
                job.lease = self.clock.now + LIMITS.lease
            else:
                job.tries -= 1
                self.model.go_back(job, 0, self.clock.now)

    @rule(pick=st.randoms(use_true_random=False))
    def erase(self, pick: Any) -> None:
        """Leave nothing of a job, now and then."""
        if not self.jobs or pick.random() < 0.5:
            return
        job = self.jobs[pick.choice(sorted(self.jobs))]
        assert not self.ledger.erase(f"not-{job.tenant}", job.id)
        assert self.ledger.erase(job.tenant, job.id)
        self.model.erase(job, self.clock.now)

    @rule(worker=st.sampled_from(WORKERS))
    def rerun(self, worker: str) -> None:
        """Give a worker a job that nobody will hear of again."""
        self.claim(worker, 1)

    @rule()
    def sweep(self) -> None:
        """Repair what time has done."""
        self.ledger.sweep()
        now = self.clock.now
        for job in self.jobs.values():
            if job.is_held and job.lease <= now:
                self.model.count("expired_leases")
                self._crashed(job)
        for job in self.jobs.values():
            if job.is_open and job.due <= now:
                self.model.lapse(job, now)
            if job.status is Status.QUEUED and job.ready <= now:
                job.ready = 0

    @invariant()
    def the_ledger_is_as_the_model_has_it(self) -> None:
        """No job is lost, ended twice or elsewhere than it should be, and every count is true."""
        found = records(self.client)
        assert {
            job_id: (
                record["status"],
                record.get("reason") or None,
                record["class"],
                record.get("deduplicated_from") or None,
            )
            for job_id, record in found.items()
        } == {
            job_id: (job.status, job.reason, job.priority, job.source and job.source.id)
            for job_id, job in self.jobs.items()
        }
        for record in found.values():
            if record["status"] == Status.SUCCEEDED:
                doer = record.get("deduplicated_from") or record["id"]
                assert json.loads(record["answer"]) == {"by": doer}
        assert self._members("deliveries:hook.test") == {
            job_id for job_id, record in found.items() if record["webhook"] and "finished" in record
        }, "no end without its delivery"
        assert self._members("untold") == {
            job_id
            for job_id, record in found.items()
            if record["webhook"] and "finished" not in record
        }
        assert self.ledger.counters() == self.model.counters
        assert_counts_are_true(self.client, self.ledger)

    def teardown(self) -> None:
        """Hold the events to the invariant: each job was accepted once and ended at most once."""
        told = [event for tenant in TENANTS for event in events(self.client, tenant)]
        ends = Counter(job_id for job_id, status, _ in told if Status(status).is_terminal)
        assert ends == {i: job.commits for i, job in self.jobs.items() if job.commits}
        assert set(ends.values()) <= {1}
        last = {job_id: status for job_id, status, _ in told}
        assert last == {job_id: job.status for job_id, job in self.jobs.items()}

    def _members(self, name: str) -> set[str]:
        return {job_id.decode() for job_id in self.client.zrange(f"{PREFIX}{name}", 0, -1)}

    def _claimed(self, worker: str, count: int) -> list[Claim]:
        got: list[Claim] = []
        while len(got) < count:
            claim = self.ledger.claim(MODEL, worker)
            self._note_lapsed()
            if claim is None:
                self._assert_nothing_for(worker)
                break
            self._note_claim(claim, worker)
            got.append(claim)
        return got

    def _crashed(self, job: Known) -> None:
        job.crashes += 1
        if not job.unwanted and job.crashes >= LIMITS.crashes:
            self.model.end(job, Status.FAILED, Reason.POISON, self.clock.now)
        else:
            job.tries -= 1
            self.model.go_back(job, 0, self.clock.now)

    def _cancel(self, job: Known) -> None:
        assert self.ledger.cancel(job.tenant, job.id) is not None
        if job.status is Status.QUEUED:
            self.model.end(job, Status.CANCELED, Reason.CANCELED, self.clock.now)
        elif job.status is Status.PROCESSING:
            job.unwanted = True

    def _job(self, claim: Claim) -> Known:
        return self.jobs[claim.job.id]

    def _holds(self, claim: Claim) -> bool:
        job = self.jobs.get(claim.job.id)
        return job is not None and job.is_held and job.fence == claim.fence

    def _note_claim(self, claim: Claim, worker: str) -> None:
        job = self._job(claim)
        waiting = self.model.claimable(self.clock.now)
        assert job in waiting
        held = self.model.held_by(worker)
        assert not any(j.crashes for j in held), "something runs beside a suspect"
        if job.crashes:
            assert not held, "a suspect runs beside something"
        else:
            older = [
                j
                for j in waiting
                if (j.tenant, j.priority, j.crashes) == (job.tenant, job.priority, 0)
            ]
            assert job is min(older, key=lambda j: j.number), "a younger job came first"
        job.status, job.worker, job.fence = Status.PROCESSING, worker, claim.fence
        job.lease = self.clock.now + LIMITS.lease
        job.tries += 1

    def _note_lapsed(self) -> None:
        """A claim ends what it finds past its time; what it does not find waits for the sweeper."""
        for job_id, job in self.jobs.items():
            if job.status is Status.QUEUED and job.due <= self.clock.now:
                found = self.ledger.get(job.tenant, job_id)
                if found and found.status is Status.FAILED:
                    self.model.lapse(job, self.clock.now)

    def _assert_nothing_for(self, worker: str) -> None:
        """Hold it to reasons: nothing waits, or a suspect is about and must run alone."""
        held = [j for j in self.jobs.values() if j.is_held]
        waiting = self.model.claimable(self.clock.now)
        suspects = [j for j in self.jobs.values() if j.crashes and j.is_open]
        lapsed = any(
            j.status is Status.QUEUED and j.due <= self.clock.now for j in self.jobs.values()
        )
        if not waiting or lapsed or any(j.worker == worker for j in held):
            return
        assert suspects, "an idle worker was sent away from waiting jobs"
        assert all(j.crashes for j in waiting), "an idle worker was sent away from sound jobs"
        host = self.client.get(f"{PREFIX}alone:{MODEL}")
        kept = host is not None and host.decode() != worker
        assert held or kept, "a suspect waits, and no worker is to take it"


@pytest.mark.parametrize("part", range(8))  # a whole run takes minutes where others compute, too
def test_each_accepted_job_ends_once_whatever_happens(client: Any, part: int) -> None:
    class Here(Life):
        """The life of this test's ledger."""

        def __init__(self) -> None:
            super().__init__(client)

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=10,
            stateful_step_count=50,
            deadline=None,
            print_blob=True,
            # Shrinking takes minutes; add Phase.shrink to see the shortest life that fails.
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
        ),
    )
