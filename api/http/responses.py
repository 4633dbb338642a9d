"""Answers that are for their caller alone."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify


def private(data: dict[str, Any], status: int = 200) -> Response:
    """Return JSON that nothing between here and the caller may keep."""
    response = jsonify(data)
    response.status_code = status
    response.headers["Cache-Control"] = "private, no-store"
    return response
