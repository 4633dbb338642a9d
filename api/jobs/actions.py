"""Asking again what a job asked in vain."""

from __future__ import annotations

from flask import Blueprint, Response

from api.http.auth import tenant
from api.jobs.routes import address, no_job, shown
from api.services import services
from jobs.job import Job, Reason
from jobs.retrying import Bulk

bp = Blueprint("retries", __name__, url_prefix="/v1")


def ask_failed_again(reason: Reason, skip: int) -> Bulk:
    """Ask again what failed for a reason, as many as one call takes."""
    return services().operations.retrying.retry_failed(reason, skip)


def ask_any_again(job_id: str) -> Job:
    """Ask again what a job of any tenant asked; raises NotFound."""
    job = services().operations.retrying.retry_any(job_id)
    if job is None:
        raise no_job()
    return job


@bp.post("/jobs/<job_id>/retry")
def retry_job(job_id: str) -> Response:
    """Ask again what a failed or canceled job asked: 202 and the new job, the same every time."""
    job = services().operations.retrying.retry(tenant(), job_id)
    if job is None:
        raise no_job()
    response = shown(job)
    response.status_code = 202
    response.headers["Location"] = address(job.id)
    return response
