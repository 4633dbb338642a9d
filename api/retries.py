"""Asking again what a job asked in vain."""

from __future__ import annotations

from collections import Counter
from functools import partial

from flask import Blueprint, Response

from api.auth import tenant
from api.services import services
from api.views import address, no_job, shown
from jobs.job import Job, Reason
from jobs.retrying import Bulk

bp = Blueprint("retries", __name__, url_prefix="/v1")


def ask_failed_again(reason: Reason, skip: int) -> Bulk:
    """Ask again what failed for a reason, as many as one call takes, and call workers to it."""
    parts = services()
    bulk = parts.operations.retrying.retry_failed(reason, skip)
    for model, count in Counter(job.model for job in bulk.retried).items():
        parts.hints.publish(model, count)
    return bulk


def ask_any_again(job_id: str) -> Job:
    """Ask again what a job of any tenant asked, and call a worker to it; raises NotFound."""
    parts = services()
    found = parts.operations.retrying.retry_any(job_id)
    if found is None:
        raise no_job()
    job, needs_worker = found
    if needs_worker:
        parts.hints.publish(job.model)
    return job


@bp.post("/jobs/<job_id>/retry")
def retry_job(job_id: str) -> Response:
    """Ask again what a failed or canceled job asked: 202 and the new job, the same every time."""
    parts = services()
    found = parts.operations.retrying.retry(tenant(), job_id)
    if found is None:
        raise no_job()
    job, needs_worker = found
    response = shown(job)
    if needs_worker:
        response.call_on_close(partial(parts.hints.publish, job.model))
    response.status_code = 202
    response.headers["Location"] = address(job.id)
    return response
