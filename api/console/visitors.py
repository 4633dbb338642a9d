"""Who looks at the pages: the session that a browser's cookie names, or nobody yet."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from flask import Response as FlaskResponse
from flask import current_app, g, request
from werkzeug.wrappers import Response

from api.services import services
from jobs.sessions import Session, Sessions

_SESSION = "llava_jobs_session"
_VISITOR = "llava_jobs_visitor"


@dataclass(frozen=True)
class Visitor:
    """A browser: ``secret`` is known to it and to us alone, ``session`` is whom it signed in."""

    secret: str
    session: Session | None
    is_new: bool = False


def visitor() -> Visitor:
    """Return who sends the request; raises StoreUnavailable."""
    found: Visitor | None = g.get("visitor")
    if found is None:
        found = g.visitor = _recognized()
    return found


def remain_unknown() -> None:
    """Have the request be nobody's, for a page that must do without the store."""
    g.visitor = Visitor(secrets.token_urlsafe(32), None)


def sessions() -> Sessions:
    """Return the sessions of the current application."""
    found: Sessions = current_app.extensions["sessions"]
    return found


def begin(response: Response, session: Session) -> None:
    """Give a browser its session."""
    _give(response, _SESSION, session.token, services().settings.session_s)


def end(response: Response) -> None:
    """Take a browser's session away, here and there."""
    session = visitor().session
    if session is not None:
        sessions().close(session.token)
    response.delete_cookie(_named(_SESSION), secure=is_secure(), httponly=True, samesite="Lax")


def remember(response: FlaskResponse) -> FlaskResponse:
    """Give a browser that is new here something to prove its forms with."""
    found: Visitor | None = g.get("visitor")
    if found is not None and found.is_new:
        _give(response, _VISITOR, found.secret, None)
    return response


def is_secure() -> bool:
    """Whether the browser speaks TLS, be it to something in front of us."""
    return request.is_secure or services().settings.public_url.lower().startswith("https:")


def _recognized() -> Visitor:
    token = request.cookies.get(_named(_SESSION))
    session = sessions().find(token) if token else None
    if session is not None:
        return Visitor(session.token, session)
    known = request.cookies.get(_named(_VISITOR))
    return Visitor(known or secrets.token_urlsafe(32), None, is_new=not known)


def _named(cookie: str) -> str:
    """Return a cookie's name: by the prefix browsers know that no other host may set it."""
    return f"__Host-{cookie}" if is_secure() else cookie


def _give(response: Response, cookie: str, value: str, life_s: int | None) -> None:
    response.set_cookie(
        _named(cookie),
        value,
        max_age=life_s,
        secure=is_secure(),
        httponly=True,
        samesite="Lax",
        path="/",
    )
