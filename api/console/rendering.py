"""Turning a template into a page: what all of them are given."""

from __future__ import annotations

from typing import Any

from flask import Response, render_template, request

from api.console import i18n, preferences
from api.console.access.sessions import visitor
from jobs.keys import Scope


def page(template: str, status: int = 200, *, here: str | None = None, **values: Any) -> Response:
    """Return a page, or a part of one, with what all templates may use.

    ``t`` is the visitor's language, ``key`` the key that it signed in with, ``theme`` what it
    chose, ``here`` the path that it is at, which is to be told where a form is answered with a
    page.
    """
    session = visitor().session
    language = i18n.chosen()
    text = render_template(
        template,
        t=language,
        languages=i18n.LANGUAGES,
        theme=preferences.theme(),
        key=session.key if session else None,
        is_admin=session is not None and Scope.ADMIN in session.key.scopes,
        here=here or (request.full_path.removesuffix("?") if request.method == "GET" else "/"),
        is_part=is_part(),
        **values,
    )
    return Response(text, status, mimetype="text/html")


def is_part() -> bool:
    """Whether htmx asks, for a part of the page that it is on."""
    return request.headers.get("HX-Request") == "true"
