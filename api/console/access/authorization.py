"""Who may see which page. One rule gives each its scope, so that none can be without."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import g, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from api.console.access import csrf
from api.console.access.sessions import visitor
from api.http import rate_limits
from api.http.auth import require
from jobs.errors import Unauthorized
from jobs.keys import Key, Scope

FOR_ANYBODY = frozenset(
    {
        *("pages.entrance.show", "pages.entrance.enter", "pages.entrance.leave"),
        "pages.taste.choose",
    }
)
"""Endpoints that need no session."""
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def admit() -> AnyResponse | None:
    """Let a request pass, or lead its visitor to where they sign in.

    Raises Forbidden, and Unauthorized where leading away would lose what was typed.
    """
    if request.method not in _SAFE:
        csrf.refuse_other_origins()
    if request.endpoint not in FOR_ANYBODY:
        session = visitor().session
        if session is None and request.method == "GET" and _is_navigation():
            return _to_sign_in()
        if session is None:
            raise Unauthorized("your session is over; sign in again", code="session_over")
        g.caller = session.key
        rate_limits.spend(session.key.tenant)
        scope = needed_scope(request.method, request.path)
        if scope is not None:
            require(scope)
    return None


def needed_scope(method: str, path: str) -> Scope | None:
    """Return the scope that a page needs; None where being signed in is enough."""
    if path == "/console" or path.startswith("/console/"):
        return Scope.ADMIN
    if path in {"/", "/sign-out"}:
        return None
    return Scope.READ if method in _SAFE else Scope.SUBMIT


def home(key: Key) -> str:
    """Return the page that a key's owner begins at."""
    return "/console" if key.scopes == {Scope.ADMIN} else "/"


def local(path: str | None, otherwise: str) -> str:
    """Return a path to go on to, if it is one of ours."""
    if not path or not path.startswith("/") or path.startswith(("//", "/\\")):
        return otherwise
    parts = urlsplit(path)
    return otherwise if parts.scheme or parts.netloc or not path.isprintable() else path


def _to_sign_in() -> AnyResponse:
    after = request.full_path.removesuffix("?")
    return redirect(url_for("pages.entrance.show", next=None if after == "/" else after), 303)


def _is_navigation() -> bool:
    mode = request.headers.get("Sec-Fetch-Mode", "navigate")
    return mode == "navigate" and "HX-Request" not in request.headers
