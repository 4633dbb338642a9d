"""Signing in with a key, and out."""

from __future__ import annotations

import math

from flask import Blueprint, current_app, redirect, request, url_for
from werkzeug.wrappers import Response

from api.console.access import sessions
from api.console.access.authorization import home, local
from api.console.rendering import page
from jobs.errors import RateLimited, Unauthorized
from jobs.rates import Rates

bp = Blueprint("entrance", __name__)


@bp.get("/sign-in")
def show() -> Response:
    """Ask for a key; whoever is signed in goes on."""
    visitor = sessions.visitor()
    if visitor.session is not None:
        return redirect(local(request.args.get("next"), home(visitor.session.key)), 303)
    error = "session_over" if visitor.is_over else None
    return page("login.html", next=local(request.args.get("next"), ""), error=error)


@bp.post("/sign-in")
def enter() -> Response:
    """Begin a session with a key that is good; raises RateLimited."""
    _spend()
    after = local(request.form.get("next"), "")
    try:
        session = sessions.sessions().open(request.form.get("key", "").strip())
    except Unauthorized as error:
        return page("login.html", 401, next=after, error=error.code)
    response = redirect(after or home(session.key), 303)
    sessions.begin(response, session)
    return response


@bp.post("/sign-out")
def leave() -> Response:
    """End the session, wherever its cookie may still be."""
    response = redirect(url_for("pages.entrance.show"), 303)
    sessions.end(response)
    return response


def _spend() -> None:
    tries: Rates = current_app.extensions["sign_ins"]
    # No tenant's name has a colon, so that none can spend another's requests.
    share = tries.spend(f"sign-in:{request.remote_addr}")
    if not share.admitted:
        raise RateLimited(
            f"at most {share.limit} tries to sign in a minute are taken from one address; "
            "wait, and try again",
            retry_after=math.ceil(share.wait / 1000),
        )
