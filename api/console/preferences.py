"""What visitors choose for themselves: language, and light or dark."""

from __future__ import annotations

from flask import Blueprint, redirect, request
from werkzeug.wrappers import Response

from api.console import i18n
from api.console.access.authorization import local
from api.console.access.sessions import is_secure

bp = Blueprint("taste", __name__)

THEMES = ("light", "dark")
_THEME = "llava_jobs_theme"
_YEAR_S = 31_536_000


@bp.post("/taste")
def choose() -> Response:
    """Keep a choice in the browser, and go back to where it was made."""
    response = redirect(local(request.form.get("next"), "/"), 303)
    for cookie, field, known in (
        (i18n.COOKIE, "language", i18n.LANGUAGES),
        (_THEME, "theme", THEMES),
    ):
        value = request.form.get(field)
        if value is not None and value in known:
            response.set_cookie(
                cookie, value, _YEAR_S, secure=is_secure(), httponly=True, samesite="Lax"
            )
    return response


def theme() -> str | None:
    """Return the theme that was chosen; None: whatever the system is set to."""
    found = request.cookies.get(_THEME)
    return found if found in THEMES else None
