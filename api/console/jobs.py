"""A job as a page: where it stands, what was asked and answered, and what can be done with it."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, request
from flask import Response as FlaskResponse
from werkzeug.wrappers import Response

from api.console.job_timeline import events, parts_of_time, story, turns
from api.console.rendering import is_part, page
from api.http.auth import may, tenant
from api.jobs.routes import no_job, own
from api.jobs.stream import stream_job
from api.services import services
from jobs.errors import NotFound
from jobs.job import Job
from jobs.keys import Scope

bp = Blueprint("job", __name__)

_WEBP = b"RIFF"


@bp.get("/jobs/<job_id>")
def show(job_id: str) -> Response:
    """Show a job of the visitor's tenant."""
    owner = tenant()
    job = own(owner, job_id)
    deliveries = services().receivers.deliveries.of(owner, job_id) or ()
    return page(
        "job.html",
        **about(job),
        events=events(job, deliveries),
        time_parts=parts_of_time(job),
        deliveries=deliveries,
        root=request.host_url,
        in_talk=False,
    )


@bp.get("/jobs/<job_id>/answer")
def answer(job_id: str) -> Response:
    """Show the part of the page that changes while a job goes on."""
    return _answer(own(tenant(), job_id))


@bp.get("/jobs/<job_id>/events")
def follow(job_id: str) -> Response:
    """Tell of a job until it has ended, as the API's own stream does."""
    return stream_job(job_id)


@bp.get("/jobs/<job_id>/pictures/<int:number>")
def picture(job_id: str, number: int) -> Response:
    """Send a picture of a job, by its place in the conversation from 0 on; raises ImageExpired."""
    owner = tenant()
    images = own(owner, job_id).conversation.images
    if number >= len(images):
        raise NotFound("this job has no such picture")
    data = services().pictures.store.get(owner, images[number].digest)
    kind = "image/webp" if data.startswith(_WEBP) else "image/jpeg"
    response = FlaskResponse(data, mimetype=kind)
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


@bp.post("/jobs/<job_id>/cancel")
def cancel(job_id: str) -> Response:
    """Stop a job, queued or running."""
    job = services().ledger.cancel(tenant(), job_id)
    if job is None:
        raise no_job()
    return _answer(job) if is_part() and may(Scope.READ) else _back(job_id)


@bp.post("/jobs/<job_id>/again")
def ask_again(job_id: str) -> Response:
    """Go on to the job that asks again what this one asked in vain; raises Conflict."""
    job = services().operations.retrying.retry(tenant(), job_id)
    if job is None:
        raise no_job()
    return _back(job.id)


@bp.post("/jobs/<job_id>/erase")
def erase(job_id: str) -> Response:
    """Leave nothing of a job, and go on to the start."""
    if not services().ledger.erase(tenant(), job_id):
        raise no_job()
    return redirect("/?erased=1", 303)


@bp.post("/jobs/<job_id>/resend")
def resend(job_id: str) -> Response:
    """Tell the job's receiver of its end again, at once; raises Conflict."""
    if not services().receivers.deliveries.send_again(tenant(), job_id):
        raise no_job()
    return _back(job_id)


def about(job: Job) -> dict[str, Any]:
    """Return what the templates say of a job, wherever it is shown."""
    return {"job": job, "story": story(job), "turns": turns(job)}


def _answer(job: Job) -> Response:
    return page("_answer.html", **about(job), in_talk="talk" in request.args)


def _back(job_id: str) -> Response:
    """Go on to a job, or to the start with a key that may not see it."""
    return redirect(f"/jobs/{job_id}" if may(Scope.READ) else "/", 303)
