"""A job as a page: where it stands, what was asked and answered, and what can be done with it."""

from __future__ import annotations

from flask import Blueprint, Response

from api.auth import tenant
from api.console.rendering import page
from api.views import own

bp = Blueprint("job", __name__)


@bp.get("/jobs/<job_id>")
def show(job_id: str) -> Response:
    """Show a job of the visitor's tenant."""
    return page("job.html", job=own(tenant(), job_id))
