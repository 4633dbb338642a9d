"""Who looks at the pages: the session that a browser's cookie names, or nobody yet."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app, g, request
from werkzeug.wrappers import Response

from api.services import services
from jobs.sessions import Session, Sessions

_SESSION = "llava_jobs_session"
_DAY_S = 86_400
"""By which a cookie outlives its session, so that a visitor can be told that it is over."""


@dataclass(frozen=True)
class Visitor:
    """A browser: ``session`` is whom it signed in; ``is_over``: it still names one that ended."""

    session: Session | None
    is_over: bool = False


def visitor() -> Visitor:
    """Return who sends the request; raises StoreUnavailable."""
    found: Visitor | None = g.get("visitor")
    if found is None:
        found = g.visitor = _recognized()
    return found


def remain_unknown() -> None:
    """Have the request be nobody's, for a page that must do without the store."""
    g.visitor = Visitor(None)


def sessions() -> Sessions:
    """Return the sessions of the current application."""
    found: Sessions = current_app.extensions["sessions"]
    return found


def begin(response: Response, session: Session) -> None:
    """Give a browser its session."""
    response.set_cookie(
        _named(_SESSION),
        session.token,
        max_age=services().settings.session_s + _DAY_S,
        secure=is_secure(),
        httponly=True,
        samesite="Lax",
        path="/",
    )


def end(response: Response) -> None:
    """Take a browser's session away, here and there."""
    session = visitor().session
    if session is not None:
        sessions().close(session.token)
    response.delete_cookie(_named(_SESSION), secure=is_secure(), httponly=True, samesite="Lax")


def is_secure() -> bool:
    """Whether the browser speaks TLS, be it to something in front of us."""
    return request.is_secure or services().settings.public_url.lower().startswith("https:")


def _recognized() -> Visitor:
    token = request.cookies.get(_named(_SESSION))
    session = sessions().find(token) if token else None
    return Visitor(session, is_over=token is not None and session is None)


def _named(cookie: str) -> str:
    """Return a cookie's name: by the prefix browsers know that no other host may set it."""
    return f"__Host-{cookie}" if is_secure() else cookie
