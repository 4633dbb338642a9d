"""The checker passes a run in which all is well, and catches each thing that may be broken."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from jobs.feed import Event
from jobs.job import Attempt, Job, Priority, Reason, Status
from jobs.request import Conversation, Parameters, Turn
from tests.faults.checker import Verdict, judge
from tests.faults.history import History, Post, Sight
from tests.faults.schedule import Order
from tests.faults.script import Act, Script, answer_to

TENANT = "acme"


def order(number: int, **fields: Any) -> Order:
    """An order with a key that asks for an answer."""
    given = {"script": Script(number, 5), "key": f"key-{number}", **fields}
    return Order(number, 0.0, TENANT, **given)


def answered(of: Order, name: str, **fields: Any) -> Job:
    """The record of an order's job that was answered at the first attempt."""
    question = of.script.question
    record = {
        "id": name,
        "tenant": of.tenant,
        "model": "demo",
        "status": Status.SUCCEEDED,
        "reason": None,
        "priority": Priority.NORMAL,
        "group": None,
        "conversation": Conversation((Turn("user", (question,)),)),
        "parameters": Parameters(),
        "metadata": {"order": of.number},
        "created_at": 1_000,
        "started_at": 1_010,
        "finished_at": 1_020,
        "expires_at": None,
        "due_at": 9_000,
        "has_deadline": False,
        "cancel_requested_at": None,
        "compute_stopped_at": None,
        "attempts": (Attempt(1, "w1", 1_010, 1_020, "succeeded"),),
        "answer": {"text": answer_to(question, of.tenant)},
        "error": None,
        "usage": None,
        "timing": None,
        "receipt": None,
        "deduplicated_from": None,
        "previous": None,
        "webhook_status": None,
        "retried_as": None,
        "trace": None,
        "version": 2,
    }
    return Job(**{**record, **fields})


@dataclass
class Run:
    """A run of two jobs in which all is well, until a test breaks it."""

    orders: list[Order] = field(default_factory=lambda: [order(1), order(2)])
    jobs: list[Job] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)
    """The event feed, as (job, status)."""
    history: History = field(default_factory=History)
    disturbed_at: tuple[int, ...] = ()
    forgetful: bool = False

    def __post_init__(self) -> None:
        for number, ordered in enumerate(self.orders, 1):
            job = answered(ordered, f"job_{number}")
            self.jobs.append(job)
            self.told += [(job.id, word) for word in ("queued", "processing", "succeeded")]
            self.history.posted(Post(ordered.number, 202, job.id))
            self.history.sights.append(Sight(job.id, "queued", None, None))

    def verdict(self) -> Verdict:
        """The checker's judgement."""
        events = [
            Event(f"{place}-0", job, Status(word), None, 0)
            for place, (job, word) in enumerate(self.told, 1)
        ]
        self.history.heard.setdefault(TENANT, events[:4])
        feed = {TENANT: events}
        return judge(
            self.orders,
            self.history,
            self.jobs,
            feed,
            self.disturbed_at,
            forgetful=self.forgetful,
        )


@pytest.fixture
def run() -> Run:
    """A run in which all is well."""
    return Run()


def test_a_run_in_which_all_is_well_breaks_nothing(run: Run) -> None:
    verdict = run.verdict()
    assert verdict.violations == {}
    assert (verdict.accepted, verdict.succeeded, verdict.wasted) == (2, 2, 0)


def without_record(run: Run) -> None:
    del run.jobs[0]
    run.told = run.told[3:]


def without_end(run: Run) -> None:
    run.jobs[0] = replace(run.jobs[0], status=Status.PROCESSING, answer=None)
    del run.told[2]


def asked_by_nobody(run: Run) -> None:
    run.jobs.append(answered(order(3), "job_3"))
    run.told += [("job_3", "queued"), ("job_3", "succeeded")]


def twice_under_one_key(run: Run) -> None:
    run.jobs.append(answered(run.orders[0], "job_3"))
    run.told += [("job_3", "queued"), ("job_3", "succeeded")]
    run.history.posted(Post(1, 202, "job_3"))


def without_any_record_of_a_told_event(run: Run) -> None:
    run.told.append(("job_9", "queued"))


def ended_twice(run: Run) -> None:
    run.told.append(("job_1", "succeeded"))


def run_after_its_end(run: Run) -> None:
    run.told += [("job_1", "processing"), ("job_1", "succeeded")]


def run_without_having_been_queued(run: Run) -> None:
    del run.told[0]


def another_end_than_was_told(run: Run) -> None:
    run.told[2] = ("job_1", "canceled")


def an_answer_that_changed(run: Run) -> None:
    run.history.sights.append(Sight("job_1", "succeeded", None, "something else"))


def an_event_that_is_gone(run: Run) -> None:
    run.history.heard[TENANT] = [Event("99-0", "job_1", Status.QUEUED, None, 0)]


def an_event_heard_twice(run: Run) -> None:
    event = Event("1-0", "job_1", Status.QUEUED, None, 0)
    run.history.heard[TENANT] = [event, event]


def the_answer_of_another(run: Run) -> None:
    run.jobs[0] = replace(run.jobs[0], answer=run.jobs[1].answer)


def failed_by_no_fault_of_its_own(run: Run) -> None:
    run.jobs[0] = replace(run.jobs[0], status=Status.FAILED, reason=Reason.POISON, answer=None)
    run.told[2] = ("job_1", "failed")


def poison_that_was_answered(run: Run) -> None:
    run.orders[0] = order(1, script=Script(1, 5, Act.DIE, 0))
    run.jobs[0] = answered(run.orders[0], "job_1")


def refused(run: Run) -> None:
    run.history.posted(Post(1, 422))


@pytest.mark.parametrize(
    ("breaks", "kind"),
    [
        (without_record, "lost"),
        (without_end, "lost"),
        (asked_by_nobody, "unexpected"),
        (twice_under_one_key, "unexpected"),
        (without_any_record_of_a_told_event, "unexpected"),
        (ended_twice, "duplicated"),
        (run_after_its_end, "illegal"),
        (run_without_having_been_queued, "illegal"),
        (another_end_than_was_told, "illegal"),
        (an_answer_that_changed, "taken_back"),
        (an_event_that_is_gone, "taken_back"),
        (an_event_heard_twice, "taken_back"),
        (the_answer_of_another, "wrong"),
        (failed_by_no_fault_of_its_own, "wrong"),
        (poison_that_was_answered, "wrong"),
        (refused, "wrong"),
    ],
)
def test_what_is_broken_is_caught(run: Run, breaks: Callable[[Run], None], kind: str) -> None:
    breaks(run)
    assert set(run.verdict().violations) == {kind}


def test_a_post_that_was_not_heard_may_have_made_a_job_or_none(run: Run) -> None:
    run.orders += [order(3, key=None), order(4)]
    run.history.posted(Post(3, None))
    run.history.posted(Post(4, 503))
    assert run.verdict().violations == {}
    run.jobs.append(answered(run.orders[2], "job_3"))
    run.told += [("job_3", word) for word in ("queued", "processing", "succeeded")]
    verdict = run.verdict()
    assert verdict.violations == {}
    assert verdict.doubtful == 1


def test_where_a_store_has_failed_over_what_was_only_read_may_be_otherwise(run: Run) -> None:
    run.forgetful = True
    another_end_was_seen = Sight("job_1", "canceled", "canceled", None)
    run.history.sights.append(another_end_was_seen)
    assert run.verdict().violations == {}
    without_record(run)
    assert set(run.verdict().violations) == {"lost"}


def test_recovery_is_counted_from_the_fault_to_the_next_attempt(run: Run) -> None:
    broken = Attempt(1, "w1", 1_000, 4_000, "lease_expired")
    again = Attempt(2, "w2", 4_500, 4_600, "succeeded")
    run.jobs[0] = replace(run.jobs[0], attempts=(broken, again))
    run.told[2:2] = [("job_1", "queued"), ("job_1", "processing")]
    run.disturbed_at = (1_200,)
    verdict = run.verdict()
    assert verdict.violations == {}
    assert (verdict.wasted, verdict.recovered, verdict.recovery_ms) == (1, 1, 3_300)
