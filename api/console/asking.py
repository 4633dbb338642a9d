"""Asking: a picture, a question, and what was asked lately."""

from __future__ import annotations

from flask import Blueprint, Response

from api.console.rendering import page

bp = Blueprint("asking", __name__)


@bp.get("/")
def show() -> Response:
    """Show the form."""
    return page("ask.html")
