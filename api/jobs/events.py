"""The event feed: one poll for the changes of all jobs, instead of one poll for each job."""

from __future__ import annotations

from flask import Blueprint, Response, request

from api.http.auth import tenant
from api.http.queries import EventsQuery, read_query
from api.http.responses import private
from api.jobs.response import moment
from api.services import services

bp = Blueprint("events", __name__, url_prefix="/v1")


@bp.get("/events")
def list_events() -> Response:
    """Show what happened behind a cursor; held until something does, where the caller prefers."""
    owner = tenant()
    query = read_query(EventsQuery, request.args)
    parts = services()
    with parts.waiting.granted(owner, request.headers.get("Prefer")) as seconds:
        told = parts.waiting.until_told(
            owner, lambda: parts.feed.after(owner, query.after, query.limit), seconds
        )
    data = [
        {
            "id": event.cursor,
            "job": event.job,
            "status": event.status,
            "reason": event.reason,
            "at": moment(event.at),
        }
        for event in told.events
    ]
    after = told.events[-1].cursor if told.events else query.after
    response = private({"object": "list", "data": data, "next": after, "gap": told.gap})
    if seconds:
        response.headers["Preference-Applied"] = f"wait={seconds:g}"
    if not told.events:
        response.headers["Retry-After"] = "1"
    return response
