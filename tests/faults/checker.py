"""The judgement of a run: what clients were told, held to the records and to the event feed.

In the spirit of Jepsen's total-queue: all that went in must come out, once, and nothing else.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from jobs.feed import Event
from jobs.job import Job, Status
from tests.faults.history import History, Sight
from tests.faults.schedule import Order
from tests.faults.script import Act, answer_to

NEXT = {
    None: {"queued"},
    "queued": {"processing", "succeeded", "failed", "canceled"},
    "processing": {"queued", "succeeded", "failed", "canceled"},
}
"""What may follow a state; nothing may follow an end."""
COMMITTED = {"succeeded", "failed", "canceled"}
FATAL = {Act.DIE: "poison", Act.HANG: "poison", Act.FAIL: "poison"}
"""How a job ends that always does this."""


@dataclass
class Verdict:
    """What a run came to. Each list names the jobs or orders that break a promise."""

    accepted: int = 0
    """Jobs that a client was told of with 202."""
    succeeded: int = 0
    doubtful: int = 0
    """Jobs whose submitter heard no answer, and which are there all the same."""
    recovered: int = 0
    """Jobs that succeeded after an attempt that broke."""
    wasted: int = 0
    """Attempts that brought nothing."""
    recovery_ms: int = 0
    """The longest time from the break of an attempt to the next one's start."""
    lost: list[str] = field(default_factory=list)
    """Accepted, and without a record or without an end."""
    unexpected: list[str] = field(default_factory=list)
    """There, and asked for by nobody, or more often than it was asked for."""
    duplicated: list[str] = field(default_factory=list)
    """Ended more than once."""
    illegal: list[str] = field(default_factory=list)
    """Went from a state to one that may not follow it."""
    taken_back: list[str] = field(default_factory=list)
    """Told to a client, and otherwise in the end."""
    wrong: list[str] = field(default_factory=list)
    """Ended with a wrong answer, or otherwise than its script, deadline or cancellation allows."""
    stuck: list[str] = field(default_factory=list)
    """What should have happened while a fault lasted, and did not in a minute."""

    @property
    def in_short(self) -> str:
        """The run in one line."""
        broken = ", ".join(f"{len(found)} {kind}" for kind, found in self.violations.items())
        return (
            f"{self.accepted} accepted, {self.succeeded} answered, {self.recovered} recovered, "
            f"{self.wasted} runs wasted, worst recovery {self.recovery_ms / 1000:.1f} s: "
            f"{broken or 'nothing lost'}"
        )

    @property
    def violations(self) -> dict[str, list[str]]:
        """What is broken, by kind."""
        kinds = ("lost", "unexpected", "duplicated", "illegal", "taken_back", "wrong", "stuck")
        return {kind: found for kind in kinds if (found := getattr(self, kind))}


def judge(
    orders: Iterable[Order],
    history: History,
    jobs: Sequence[Job],
    feed: Mapping[str, Sequence[Event]],
    disturbed_at: Sequence[int] = (),
    *,
    forgetful: bool = False,
) -> Verdict:
    """Judge a run.

    ``jobs`` are the records at its end, ``feed`` the events of each tenant, ``disturbed_at`` when
    faults were injected, in milliseconds since the epoch. With ``forgetful`` a store has failed
    over: what was read, and not confirmed to whoever wrote it, may be otherwise.
    """
    by_number = {order.number: order for order in orders}
    by_id = {job.id: job for job in jobs}
    verdict = Verdict()
    _acceptance(verdict, by_number, history, by_id)
    _endings(verdict, by_number, jobs)
    _transitions(verdict, feed, by_id)
    if not forgetful:
        _words(verdict, history, by_id, feed)
    _cost(verdict, jobs, disturbed_at)
    return verdict


def _acceptance(
    verdict: Verdict, orders: Mapping[int, Order], history: History, jobs: Mapping[str, Job]
) -> None:
    told = {post.job: post.order for post in history.posts if post.job}
    verdict.accepted = len(told)
    for job_id in told:
        job = jobs.get(job_id)
        if job is None or not job.status.is_terminal:
            verdict.lost.append(job_id)
    for post in history.posts:
        order = orders.get(post.order)
        # A queue that grew during the fault cannot meet every deadline, and says so at once.
        is_too_late = post.status == 422 and order is not None and order.deadline_ms is not None
        if post.refused and post.status != 429 and not is_too_late:
            verdict.wrong.append(f"order {post.order}: refused with {post.status}")
    tries = Counter(post.order for post in history.posts if not post.refused)
    records = Counter(job.metadata.get("order", -1) for job in jobs.values())
    for number, found in records.items():
        order = orders.get(number)
        most = 0 if order is None else min(tries[number], 1 if order.key else tries[number])
        if found > most:
            verdict.unexpected.append(f"order {number}: {found} jobs where {most} may be")
    for job in jobs.values():
        if job.id not in told:
            verdict.doubtful += 1
            if not job.status.is_terminal:
                verdict.lost.append(job.id)


def _endings(verdict: Verdict, orders: Mapping[int, Order], jobs: Iterable[Job]) -> None:
    for job in jobs:
        order = orders.get(job.metadata.get("order", -1))
        if order is None or not job.status.is_terminal:
            continue
        verdict.succeeded += job.status is Status.SUCCEEDED
        if _ending(job) not in allowed(order):
            verdict.wrong.append(f"{job.id} ({order.script.question}): {' '.join(_ending(job))}")
        elif job.status is Status.SUCCEEDED:
            text = (job.answer or {}).get("text")
            if text != answer_to(order.script.question, order.tenant):
                verdict.wrong.append(f"{job.id}: another answer")


def allowed(order: Order) -> set[tuple[str, str]]:
    """How an order's job may end, as (status, reason)."""
    script = order.script
    endings = {("succeeded", "")}
    if script.times == 0 or script.times >= 3:
        if script.act in FATAL:
            endings = {("failed", FATAL[script.act])}
        elif script.act is not Act.ANSWER and script.act is not Act.DIE_UNACKNOWLEDGED:
            endings = {("failed", "error")}
    if order.deadline_ms is not None:
        endings.add(("failed", "deadline"))
    if order.cancel_after is not None:
        endings.add(("canceled", "canceled"))
    return endings


def _ending(job: Job) -> tuple[str, str]:
    return job.status.value, job.reason.value if job.reason else ""


def _transitions(
    verdict: Verdict, feed: Mapping[str, Sequence[Event]], jobs: Mapping[str, Job]
) -> None:
    states: dict[str, str | None] = defaultdict(lambda: None)
    for tenant, events in feed.items():
        for event in events:
            job = jobs.get(event.job)
            if job is None or job.tenant != tenant:
                verdict.unexpected.append(f"event of {event.job}")
                continue
            before, after = states[event.job], event.status.value
            if before in COMMITTED and after in COMMITTED:
                verdict.duplicated.append(f"{event.job}: {after} after {before}")
            elif after not in NEXT.get(before, set()):
                verdict.illegal.append(f"{event.job}: {after} after {before}")
            states[event.job] = after
    for job in jobs.values():
        if states[job.id] != job.status.value:
            verdict.illegal.append(f"{job.id}: {job.status.value}, told as {states[job.id]}")


def _words(
    verdict: Verdict,
    history: History,
    jobs: Mapping[str, Job],
    feed: Mapping[str, Sequence[Event]],
) -> None:
    """What a client was told once must be so in the end."""
    for sight in history.sights:
        job = jobs.get(sight.job)
        if sight.status in COMMITTED and (job is None or _as_seen(job) != sight):
            verdict.taken_back.append(f"{sight.job}: was shown as {sight.status}")
    for tenant, heard in history.heard.items():
        kept = {event.cursor: event for event in feed.get(tenant, ())}
        for event in heard:
            found = kept.get(event.cursor)
            if found is None or (found.job, found.status) != (event.job, event.status):
                verdict.taken_back.append(f"event {event.cursor} of {event.job}")
        cursors = [tuple(map(int, event.cursor.split("-"))) for event in heard]
        if cursors != sorted(set(cursors)):
            verdict.taken_back.append(f"the feed of {tenant} came out of order or twice")


def _as_seen(job: Job) -> Sight:
    answer = job.answer["text"] if job.answer else None
    return Sight(job.id, job.status.value, job.reason.value if job.reason else None, answer)


def _cost(verdict: Verdict, jobs: Iterable[Job], disturbed_at: Sequence[int]) -> None:
    for job in jobs:
        broken = [a for a in job.attempts if a.outcome not in {"succeeded", "failed", "canceled"}]
        verdict.wasted += len(broken)
        verdict.recovered += bool(broken) and job.status is Status.SUCCEEDED
        nexts = [*(a.started_at for a in job.attempts[1:]), job.finished_at or 0]
        for attempt, then in zip(job.attempts, nexts, strict=False):
            if attempt.outcome not in {"lease_expired", "unheard"}:
                continue
            ended = attempt.ended_at or then
            during = [at for at in disturbed_at if attempt.started_at <= at <= ended]
            took = then - max([attempt.started_at, *during])
            verdict.recovery_ms = max(verdict.recovery_ms, took)
