"""The native routes: jobs in, jobs out."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import partial
from typing import Any

from flask import Blueprint, Response, g, jsonify, request

from api.http import body_budget
from api.http.auth import may, tenant
from api.http.request_log import known_as
from api.jobs.queue_estimate import as_queue
from api.jobs.request import CreateJob, read_create_job
from api.jobs.response import receipt, represent
from api.jobs.submission import drafted
from api.services import Services, services
from jobs.errors import InvalidRequest, NotFound
from jobs.job import Draft, Job, Status
from jobs.keys import Scope
from jobs.tracing import trace_id

bp = Blueprint("v1", __name__, url_prefix="/v1")


@bp.post("/jobs")
def create_job() -> Response:
    """Accept a job: 202, or 200 where the caller prefers to wait and it ends in time."""
    owner, waiting = tenant(), services().waiting
    job = accept(owner, read_create_job(request))
    with waiting.granted(owner, request.headers.get("Prefer")) as seconds:
        if seconds:
            job = waiting.until_ended(job.id, partial(own, owner, job.id), seconds)
    response = shown(job)
    response.status_code = 200 if job.status.is_terminal and seconds else 202
    if seconds:
        response.headers["Preference-Applied"] = f"wait={seconds:g}"
    response.headers["Location"] = response.headers["Operation-Location"] = address(job.id)
    return response


@bp.get("/jobs/<job_id>")
def get_job(job_id: str) -> Response:
    """Show a job; 304 where the caller has it as it is."""
    owner, waiting = tenant(), services().waiting
    with waiting.granted(owner, request.headers.get("Prefer")) as seconds:
        job = waiting.until_ended(job_id, partial(own, owner, job_id), seconds)
    response = shown(job)
    response.make_conditional(request)
    return response


@bp.post("/jobs/<job_id>/cancel")
def cancel_job(job_id: str) -> Response:
    """Stop a job, queued or running."""
    job = services().ledger.cancel(tenant(), job_id)
    if job is None:
        raise no_job()
    return shown(job)


@bp.delete("/jobs/<job_id>")
def erase_job(job_id: str) -> Response:
    """Leave nothing of a job, wherever it stands."""
    if not services().ledger.erase(tenant(), job_id):
        raise no_job()
    return Response(status=204)


@bp.get("/models")
def list_models() -> Response:
    """List the models that have live workers, in OpenAI's shape."""
    ledger = services().ledger
    names = sorted(name for name in ledger.models() if ledger.workers(name))
    return jsonify({"object": "list", "data": [_model(name) for name in names]})


@bp.get("/models/<path:name>")
def get_model(name: str) -> Response:
    """Show a model that has live workers, in OpenAI's shape."""
    if not services().ledger.workers(name):
        raise NotFound("no worker serves this model", code="model_not_found", param="model")
    return jsonify(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "llava-jobs"}


def accept(owner: str, body: CreateJob) -> Job:
    """Accept the job that a body asks for."""
    parts = services()
    with parts.tracer.span("accept", g.traceparent, tenant=owner) as context:
        draft = drafted(parts, owner, body, _idempotency_key())
        draft = replace(draft, trace=context, key=g.caller.id)
        known_as(job=draft.id, trace=trace_id(context))
        job = submit(parts, draft)
    body_budget.let_go()
    known_as(job=job.id)
    return job


def submit(parts: Services, draft: Draft) -> Job:
    """Accept a job."""
    job, _ = parts.ledger.submit(draft, _soonest_ms(parts, draft))
    return job


def own(owner: str, job_id: str) -> Job:
    """Return a tenant's job; raises NotFound where there is none, or it is another's."""
    job = services().ledger.get(owner, job_id)
    if job is None:
        raise no_job()
    known_as(job=job.id)
    return job


def address(job_id: str) -> str:
    """Return a job's whole URL: clients of long-running operations join none themselves."""
    root = services().settings.public_url or request.host_url
    return f"{root.rstrip('/')}/v1/jobs/{job_id}"


def no_job() -> NotFound:
    """Return the error that says that a tenant has no such job."""
    return NotFound("no job of yours has this id", code="job_not_found")


def shown(job: Job) -> Response:
    """Return a job as its caller may poll it."""
    parts, position, queue = services(), 0, None
    if job.status is Status.QUEUED:
        position = parts.ledger.position(job)
        queue = as_queue(position, job.priority, parts.paces.of(job.model))
    told = represent(job, queue) if may(Scope.READ) else receipt(job)
    response = jsonify(told)
    # Weak: a forecast that was made for the same place is as good, and must not defeat polling.
    same = json.dumps({**told, "queue": position})
    digest = hashlib.sha256(same.encode()).hexdigest()
    response.set_etag(digest[:32], weak=True)
    response.headers["Cache-Control"] = "private, no-cache"
    if not job.status.is_terminal:
        response.headers["Retry-After"] = str(min(1 + position // 50, 30))
    return response


def _soonest_ms(parts: Services, draft: Draft) -> int:
    """Return in how many ms a job that has a deadline would end; 0 where that cannot be told."""
    pace = parts.paces.of(draft.model) if draft.deadline_ms else None
    if pace is None:
        return 0
    return round(pace.forecast(parts.ledger.next_position(draft), draft.priority).finish_p50)


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not 1 <= len(key) <= 255:
        raise InvalidRequest(
            "an Idempotency-Key has 1 to 255 characters",
            code="invalid_field",
            param="Idempotency-Key",
        )
    return key
