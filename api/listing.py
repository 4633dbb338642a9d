"""Finding jobs again: lists of a tenant's jobs, and the jobs of a group."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from api.auth import tenant
from api.queries import JobsQuery, read_query
from api.representation import represent
from api.services import services
from jobs.errors import InvalidRequest, NotFound

bp = Blueprint("listing", __name__, url_prefix="/v1")


@bp.get("/jobs")
def list_jobs() -> Response:
    """List jobs, newest first, or those with the ids that are asked for."""
    owner = tenant()
    query = read_query(JobsQuery, request.args)
    listing = services().listing
    if query.ids:
        found, after = listing.by_ids(owner, query.id_list), None
    else:
        page = listing.page(
            owner, status=query.status, group=query.group, after=query.after, limit=query.limit
        )
        if page is None:
            raise InvalidRequest(
                "the job that this cursor names is no longer kept; list from the start",
                code="cursor_expired",
                param="after",
            )
        found, after = list(page.jobs), page.after
    data = [represent(job) for job in found]
    response = jsonify({"object": "list", "data": data, "next": after})
    response.headers["Cache-Control"] = "private, no-cache"
    return response


@bp.post("/groups/<text:name>/cancel")
def cancel_group(name: str) -> Response:
    """Stop all jobs of a group that have not ended."""
    owner = tenant()
    jobs = [services().ledger.cancel(owner, job_id) for job_id in _group(owner, name)]
    data = [represent(job) for job in jobs if job]
    return jsonify({"object": "list", "data": data, "next": None})


@bp.delete("/groups/<text:name>")
def erase_group(name: str) -> Response:
    """Leave nothing of any job of a group."""
    owner = tenant()
    for job_id in _group(owner, name):
        services().ledger.erase(owner, job_id)
    return Response(status=204)


def _group(owner: str, name: str) -> list[str]:
    ids = services().listing.of_group(owner, name)
    if not ids:
        raise NotFound("no job of yours is in this group", code="group_not_found")
    return ids
