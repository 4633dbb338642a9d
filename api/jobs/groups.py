"""Finding jobs again: lists of a tenant's jobs, and the jobs of a group."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from api.http.auth import may, tenant
from api.http.queries import GroupQuery, JobsQuery, read_query
from api.http.responses import private
from api.jobs.response import receipt, represent
from api.services import services
from jobs.errors import InvalidRequest, NotFound
from jobs.keys import Scope

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
            raise _lost()
        found, after = list(page.jobs), page.after
    data = [represent(job) for job in found]
    response = jsonify({"object": "list", "data": data, "next": after})
    response.headers["Cache-Control"] = "private, no-cache"
    return response


@bp.post("/groups/<text:name>/cancel")
def cancel_group(name: str) -> Response:
    """Stop the jobs of a group that have not ended, so many a call."""
    after = read_query(GroupQuery, request.args).after
    canceled = services().groups.cancel(tenant(), name, after)
    if canceled is None:
        raise _lost()
    if not canceled.jobs and after is None:
        raise _no_group()
    told = represent if may(Scope.READ) else receipt
    data = [told(job) for job in canceled.jobs]
    page = {"object": "list", "data": data, "next": canceled.after}
    return private({**page, "remaining": canceled.remaining})


@bp.delete("/groups/<text:name>")
def erase_group(name: str) -> Response:
    """Leave nothing of a group: 204, or 202 where it has more jobs than one call takes."""
    done = services().groups.erase(tenant(), name)
    if not done.erased and not done.remaining:
        raise _no_group()
    if done.remaining:
        return private({"object": "group", **vars(done)}, 202)
    return Response(status=204)


def _no_group() -> NotFound:
    return NotFound("no job of yours is in this group", code="group_not_found")


def _lost() -> InvalidRequest:
    return InvalidRequest(
        "the job that this cursor names is no longer kept; list from the start",
        code="cursor_expired",
        param="after",
    )
