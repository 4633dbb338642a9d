"""Asking: a picture, a question, and what was asked lately."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, g, redirect, request
from werkzeug.wrappers import Response

from api.console.jobs import about
from api.console.rendering import is_part, page
from api.http.auth import may, tenant
from api.http.multipart import taken
from api.jobs.request import CreateJob, validated
from api.jobs.routes import accept
from api.services import services
from jobs.errors import InvalidRequest
from jobs.job import Job
from jobs.keys import Scope

bp = Blueprint("asking", __name__)

RECENT = 6
"""Jobs that are shown beside the form."""


@bp.get("/")
def show() -> Response:
    """Show the form, and what was asked lately."""
    return _form()


@bp.post("/ask")
def ask() -> Response:
    """Accept a question and go on to its job, or show it in place, to whom may see it."""
    try:
        job = accept(tenant(), validated(CreateJob, _fields(), strict=False))
    except InvalidRequest as error:
        if is_part():
            raise
        return _form(error.status, error=error, question=request.form.get("question", ""))
    if not may(Scope.READ):
        return page("_accepted.html") if is_part() else redirect("/?accepted=1", 303)
    if is_part():
        return page("_turn.html", **about(job), in_talk=True)
    return redirect(f"/jobs/{job.id}", 303)


def _form(status: int = 200, **values: Any) -> Response:
    parts = services()
    return page(
        "ask.html",
        status,
        recent=_recent(),
        root=request.host_url,
        models=sorted(name for name in parts.ledger.models() if parts.ledger.workers(name)),
        model=parts.settings.served_model,
        **values,
    )


def _recent() -> list[Job]:
    """Return the jobs that the visitor's key asked last, as far as it may see them."""
    if Scope.READ not in g.caller.scopes:
        return []
    return services().listing.asked_with(tenant(), g.caller.id, RECENT)


def _fields() -> dict[str, Any]:
    names = ("question", "previous_job_id", "model")
    fields: dict[str, Any] = {name: text for name in names if (text := request.form.get(name))}
    sent = [part for part in request.files.getlist("image") if part.filename]
    detail = request.form.get("detail", "auto")
    return {**fields, "images": [{"data": taken(part), "detail": detail} for part in sent]}
