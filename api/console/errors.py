"""Errors as pages: what happened, why, and what to do next."""

from __future__ import annotations

from flask import Blueprint, Flask, Response, request
from werkzeug.exceptions import HTTPException

from api.console.access.security_headers import protect
from api.console.access.sessions import remain_unknown, visitor
from api.console.rendering import is_part, page
from api.http.errors import http_problem, plain_error, unexpected_error
from jobs.errors import JobsError

_KNOWN = (401, 403, 404, 405, 413, 429, 500, 503)


def init_app(app: Flask, pages: Blueprint) -> None:
    """Have failures of pages shown as pages, and so a browser's that asks for nothing there is."""
    pages.register_error_handler(JobsError, refusal)
    pages.register_error_handler(HTTPException, lambda error: refusal(plain_error(error)))
    pages.register_error_handler(Exception, lambda error: refusal(unexpected_error(error)))
    for status in (404, 405):
        app.register_error_handler(status, _nowhere)


def refusal(error: JobsError) -> Response:
    """Return an error as a page, or as the part that htmx shows in place."""
    status = error.status
    kind = str(status) if status in _KNOWN else ("4xx" if status < 500 else "500")
    try:
        visitor()
    except JobsError:  # a store that is away; the page does without it
        remain_unknown()
    template = "_error.html" if is_part() else "error.html"
    response = page(template, status, error=error, kind=kind)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if is_part():
        response.headers["HX-Retarget"] = "#refusal"
        response.headers["HX-Reswap"] = "innerHTML"
    return response


def _nowhere(error: HTTPException) -> Response:
    wanted = request.accept_mimetypes
    is_page = (
        request.path.split("/")[1] != "v1" and wanted["text/html"] > wanted["application/json"]
    )
    return protect(refusal(plain_error(error))) if is_page else http_problem(error)
