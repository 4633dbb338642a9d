"""Asking again what a job asked in vain."""

from __future__ import annotations

from functools import partial

from flask import Blueprint, Response

from api.auth import tenant
from api.views import address, no_job, services, shown

bp = Blueprint("retries", __name__, url_prefix="/v1")


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
