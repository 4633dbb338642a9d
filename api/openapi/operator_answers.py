"""What operators are answered: intake, workers, failed jobs, and the figures of the last hour."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from api.openapi.answers import Count, JobId, Listed, Moment, Shown

Why = Literal["error", "poison", "deadline", "expired", "refused"]
Share = Annotated[float, Field(ge=0, le=1)]


class PausedTenant(Shown):
    """A tenant whose jobs are not accepted."""

    tenant: str
    paused_since: Moment


class Intake(Shown):
    """Whether jobs are accepted."""

    paused: bool
    """of everybody"""
    paused_since: Moment | None
    tenants: list[PausedTenant]
    """those that are paused by themselves"""


class Worker(Shown):
    """A live worker. What one of an older version does not tell is `null`."""

    model: str
    state: Literal["ready", "draining", "drained"]
    """`draining`: it is given no jobs, and has some; `drained`: it has none"""
    name: str
    host: str
    slots: Count
    """jobs that it answers at the same time"""
    slots_used: Count
    heartbeat_age_s: float
    """seconds since it was last heard of"""
    gpu_memory_bytes: Count | None
    gpu_memory_limit_bytes: Count | None
    prefix_hit_rate: Share | None
    """of the tokens of prompts, the share that its cache had"""


class WorkerList(Listed):
    """Workers of all models."""

    data: list[Worker]


class FailureCount(Shown):
    """Jobs that failed for a reason, are kept, and were not asked again."""

    reason: Why
    count: Count


class FailureCounts(Listed):
    """All reasons for which jobs fail."""

    data: list[FailureCount]


class Failure(Shown):
    """A job that failed, without what it asked."""

    id: JobId
    tenant: str
    model: str
    reason: Why
    code: str | None
    """its error's"""
    finished_at: Moment


class FailureList(Listed):
    """Failed jobs, newest first."""

    data: list[Failure]


class Retried(Shown):
    """What became of failed jobs that were asked again."""

    retried: Count
    not_retried: dict[str, int]
    """those that stay as they are, by the code of the error"""
    left: Count
    """those that were not looked at"""
    skip: Count
    """what the next call passes to get to these"""


class RetriedJob(Shown):
    """A job that asks again what another one asked in vain."""

    id: JobId
    tenant: str
    retry_of: JobId


class Quantiles(Shown):
    """Milliseconds, to some 9 %; `null` where nothing was measured."""

    p50: Count | None
    p95: Count | None


class Figures(Shown):
    """What happened in a time."""

    accepted: Count
    succeeded: Count
    failed: Count
    canceled: Count
    waiting_ms: Quantiles
    """from acceptance to the first claim, of jobs that were claimed then"""
    whole_ms: Quantiles
    """from acceptance to the answer, of jobs that were answered then"""


class Minute(Figures):
    """A minute."""

    at: Moment
    """when it began"""


class LastHour(Shown):
    """The last hour."""

    minutes: list[Minute]
    """60, oldest first; the last is not over"""
    hour: Figures
