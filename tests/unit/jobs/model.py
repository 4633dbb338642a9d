"""A ledger in plain Python: what must have become of every job, for the tests of random lives."""

from __future__ import annotations

from dataclasses import dataclass, field

from jobs.job import Priority, Reason, Status

RANK = {Priority.LOW: 0, Priority.NORMAL: 1, Priority.HIGH: 2}
FOR_ALL = {Reason.ERROR, Reason.POISON, Reason.REFUSED}


@dataclass(eq=False)
class Known:
    """What the model knows of a job."""

    id: str
    tenant: str
    priority: Priority
    number: int
    due: int
    deadline: bool
    work: tuple[str, str] | None
    """Tenant and kind of what it asks, where it may be shared."""
    status: Status = Status.QUEUED
    reason: Reason | None = None
    source: Known | None = None
    """The job that it follows, or whose outcome it has."""
    fence: int = 0
    worker: str = ""
    lease: int = 0
    ready: int = 0
    tries: int = 0
    crashes: int = 0
    unwanted: bool = False
    commits: int = 0

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return not self.status.is_terminal

    @property
    def is_held(self) -> bool:
        """Whether a worker has it."""
        return self.status is Status.PROCESSING

    def end(self, status: Status, reason: Reason | None) -> None:
        """Note the end of the job."""
        assert self.is_open
        self.status, self.reason = status, reason
        self.commits += 1

    def lapse(self) -> None:
        """Note that the job's time was over."""
        self.end(Status.FAILED, Reason.DEADLINE if self.deadline else Reason.EXPIRED)


@dataclass
class Model:
    """All jobs by id, and for each piece of work the job that does it or has done it."""

    jobs: dict[str, Known] = field(default_factory=dict)
    doers: dict[tuple[str, str], Known] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)

    def accept(self, job: Known) -> None:
        """Note a new job, which waits, follows another, or has its answer already."""
        self.jobs[job.id] = job
        if job.work is None:
            return
        doer = self.doers.get(job.work)
        if doer is None:
            self.doers[job.work] = job
            return
        job.source = doer
        if doer.is_open:
            self.count("coalesced")
            doer.priority = max(doer.priority, job.priority, key=RANK.__getitem__)
        else:
            self.count("answered_from_cache")
            job.end(Status.SUCCEEDED, None)

    def end(self, job: Known, status: Status, reason: Reason | None, now: int) -> None:
        """Note the end of a job, and what it means for those that follow it."""
        job.end(status, reason)
        self._settle(job, now)

    def lapse(self, job: Known, now: int) -> None:
        """Note that a job's time was over."""
        job.lapse()
        self._settle(job, now)

    def erase(self, job: Known, now: int) -> None:
        """Note that nothing stays of a job."""
        if job.is_open:
            self.end(job, Status.CANCELED, Reason.CANCELED, now)
        if job.work and self.doers.get(job.work) is job:
            del self.doers[job.work]
        del self.jobs[job.id]

    def go_back(self, job: Known, ready: int, now: int) -> None:
        """Note that a job waits again, or ends where it is not wanted any more."""
        if job.unwanted:
            self.end(job, Status.CANCELED, Reason.CANCELED, now)
        else:
            job.status, job.ready = Status.QUEUED, ready

    def claimable(self, now: int) -> list[Known]:
        """The jobs that a worker may be given."""
        return [
            job
            for job in self.jobs.values()
            if job.status is Status.QUEUED and not job.source and not job.ready and job.due > now
        ]

    def held_by(self, worker: str) -> list[Known]:
        """The jobs that a worker has."""
        return [job for job in self.jobs.values() if job.is_held and job.worker == worker]

    def _settle(self, job: Known, now: int) -> None:
        followers = [f for f in self.jobs.values() if f.source is job and f.is_open]
        heir = None
        if job.status is Status.SUCCEEDED or job.reason in FOR_ALL:
            for follower in followers:
                follower.end(job.status, job.reason)
        else:
            heir = self._promote(followers, now)
        if job.work and self.doers.get(job.work) is job:
            if heir:
                self.doers[job.work] = heir
            elif job.status is not Status.SUCCEEDED or job.work[1] != "repeatable":
                del self.doers[job.work]

    def _promote(self, followers: list[Known], now: int) -> Known | None:
        for follower in followers:
            if follower.due <= now:
                follower.lapse()
        left = [f for f in followers if f.is_open]
        if not left:
            return None
        heir = left[0]
        heir.source = None
        heir.priority = max((f.priority for f in left), key=RANK.__getitem__)
        for follower in left[1:]:
            follower.source = heir
        return heir

    def count(self, what: str) -> None:
        """Note that something happened once more."""
        self.counters[what] = self.counters.get(what, 0) + 1
