"""The description of the API, served by the API: for programs, and as a page."""

from __future__ import annotations

import json
import re
from functools import cache

from flask import Blueprint, Response, render_template, request
from markupsafe import Markup, escape

from api.openapi.document import document
from api.openapi.error_codes import faults
from api.openapi.reference import error_rows, sections, things

bp = Blueprint("documentation", __name__)
_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[(\w+)\]\((#[\w-]+)\)")
STRICT = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the page may do: be read. It has no script, and fetches nothing but its style."""


@bp.get("/openapi.json")
def openapi() -> Response:
    """Describe the API for programs."""
    response = Response(_as_json(), mimetype="application/json")
    # Any page may read it: it says nothing that is not the same for everybody.
    response.headers["Access-Control-Allow-Origin"] = "*"
    return _kept(response)


@bp.get("/docs")
def docs() -> Response:
    """Describe the API for people."""
    page = render_template(
        "api_docs.html",
        about=document()["info"],
        sections=sections(),
        requests=things(of_requests=True),
        answers=things(of_requests=False),
        errors=error_rows(),
        codes=faults("calls"),
        root=request.host_url.rstrip("/"),
    )
    response = Response(page, mimetype="text/html")
    response.headers["Content-Security-Policy"] = STRICT
    response.headers["Referrer-Policy"] = "no-referrer"
    return _kept(response)


@bp.app_template_filter("told")
def told(text: str) -> Markup:
    """Return a sentence of the description as HTML: `code`, and links within the page."""
    marked = _LINK.sub(r'<a href="\2">\1</a>', str(escape(text)))
    return Markup(_CODE.sub(r"<code>\1</code>", marked))  # noqa: S704 - escaped above


@cache
def _as_json() -> str:
    return json.dumps(document(), ensure_ascii=False) + "\n"


def _kept(response: Response) -> Response:
    """Return what changes with the version alone, for the caller to ask whether it has it."""
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response
