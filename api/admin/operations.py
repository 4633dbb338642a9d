"""The operator's controls: intake, workers, failed jobs, and the figures of the last hour.

They need the scope ``admin``, and show nothing of what was asked or answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from flask import Blueprint, Response, request
from pydantic import AfterValidator, Field

from api.admin.keys import names_a_tenant
from api.admin.workers import Member, fleet
from api.http.queries import Query, read_query
from api.http.responses import private
from api.jobs.actions import ask_any_again, ask_failed_again
from api.jobs.request import Fields, read_json
from api.jobs.response import moment
from api.services import services
from jobs.drain import Drain
from jobs.errors import NotFound
from jobs.failures import REASONS
from jobs.figures import Durations, Minute
from jobs.job import Reason

bp = Blueprint("operating", __name__, url_prefix="/v1/admin")

_TOLD = (
    *("name", "host", "slots", "slots_used", "heartbeat_age_s"),
    *("gpu_memory_bytes", "gpu_memory_limit_bytes", "prefix_hit_rate"),
)
"""What is told of a worker, as jobs.signals has it."""


class OfTenant(Fields):
    """The body of ``POST /v1/admin/intake/pause`` and ``resume``; null: of everybody."""

    tenant: Annotated[str, AfterValidator(names_a_tenant)] | None = None


class DrainWorker(Fields):
    """The body of ``POST /v1/admin/workers/<name>/drain``."""

    hand_back: bool = False


class RetryFailures(Fields):
    """The body of ``POST /v1/admin/failures/<reason>/retry``."""

    skip: int = Field(default=0, ge=0, le=10**9)


class FailuresQuery(Query):
    """How many failures to list."""

    limit: int = Field(default=50, ge=1, le=200)


@bp.get("/intake")
def show_intake() -> Response:
    """Show whether jobs are accepted."""
    pauses = services().operations.intake.pauses()
    tenants = [{"tenant": n, "paused_since": moment(at)} for n, at in pauses.tenants.items()]
    return private(
        {
            "paused": pauses.everybody is not None,
            "paused_since": moment(pauses.everybody),
            "tenants": tenants,
        }
    )


@bp.post("/intake/pause")
def pause_intake() -> Response:
    """Accept no jobs, of a tenant or of everybody; what was accepted goes on."""
    services().operations.intake.pause(read_json(OfTenant, request).tenant)
    return show_intake()


@bp.post("/intake/resume")
def resume_intake() -> Response:
    """Accept jobs again."""
    services().operations.intake.resume(read_json(OfTenant, request).tenant)
    return show_intake()


@bp.get("/workers")
def list_workers() -> Response:
    """List the live workers of all models."""
    return private({"object": "list", "data": [_worker(one) for one in fleet()], "next": None})


@bp.post("/workers/<name>/drain")
def drain_worker(name: str) -> Response:
    """Have a worker claim nothing; what it holds it finishes, or hands back."""
    how = Drain.HAND_BACK if read_json(DrainWorker, request).hand_back else Drain.FINISH
    services().operations.drains.drain(name, how)
    return _one_worker(name)


@bp.post("/workers/<name>/resume")
def resume_worker(name: str) -> Response:
    """Have a worker claim again."""
    services().operations.drains.resume(name)
    return _one_worker(name)


@bp.get("/failures")
def count_failures() -> Response:
    """Show how many jobs have failed for each reason, and were not asked again."""
    counts = services().operations.failures.counts()
    data = [{"reason": reason, "count": count} for reason, count in counts.items()]
    return private({"object": "list", "data": data, "next": None})


@bp.get("/failures/<reason>")
def list_failures(reason: str) -> Response:
    """List what failed last for a reason."""
    limit = read_query(FailuresQuery, request.args).limit
    found = services().operations.failures.newest(_reason(reason), limit)
    data = [{**vars(one), "finished_at": moment(one.finished_at)} for one in found]
    return private({"object": "list", "data": data, "next": None})


@bp.post("/failures/<reason>/retry")
def retry_failures(reason: str) -> Response:
    """Ask again what failed for a reason, a bounded number at a time."""
    bulk = ask_failed_again(_reason(reason), read_json(RetryFailures, request).skip)
    told = {"retried": len(bulk.retried), "not_retried": bulk.kept, "left": bulk.left}
    return private({**told, "skip": bulk.skip})


@bp.post("/jobs/<job_id>/retry")
def retry_job(job_id: str) -> Response:
    """Ask again what a failed or canceled job of any tenant asked."""
    job = ask_any_again(job_id)
    return private({"id": job.id, "tenant": job.tenant, "retry_of": job_id}, 202)


@bp.get("/figures")
def show_figures() -> Response:
    """Show what was accepted and ended in each minute of the last hour, and in what time."""
    minutes = services().operations.figures.last_hour()
    return private(
        {
            "minutes": [{"at": moment(minute.at), **_figures([minute])} for minute in minutes],
            "hour": _figures(minutes),
        }
    )


def _figures(minutes: Sequence[Minute]) -> dict[str, Any]:
    names = ("accepted", "succeeded", "failed", "canceled")
    counts = {name: sum(getattr(minute, name) for minute in minutes) for name in names}
    waiting = Durations.together([minute.waiting for minute in minutes])
    whole = Durations.together([minute.whole for minute in minutes])
    return {**counts, "waiting_ms": _quantiles(waiting), "whole_ms": _quantiles(whole)}


def _quantiles(durations: Durations) -> dict[str, int | None]:
    found = {"p50": durations.quantile(0.5), "p95": durations.quantile(0.95)}
    return {name: None if ms is None else round(ms) for name, ms in found.items()}


def _one_worker(name: str) -> Response:
    for one in fleet():
        if one.worker.name == name:
            return private(_worker(one))
    raise NotFound("no live worker has this name", code="worker_not_found")


def _worker(one: Member) -> dict[str, Any]:
    told = {name: getattr(one.worker, name) for name in _TOLD}
    return {"model": one.model, "state": one.state, **told}


def _reason(text: str) -> Reason:
    if text not in REASONS:
        raise NotFound("jobs fail for these reasons: " + ", ".join(REASONS))
    return Reason(text)
