"""Whether this process lives, and whether it can accept jobs."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from api.services import services

bp = Blueprint("health", __name__)


@bp.get("/healthz")
def healthz() -> Response:
    """Say that the process answers; nothing else is looked at."""
    return jsonify({"status": "ok"})


@bp.get("/readyz")
def readyz() -> Response:
    """Say whether a job would be accepted, and how many workers would answer it.

    503 where the store is away. No workers is not a failure: jobs are kept until some come.
    """
    parts = services()
    workers = {name: len(parts.ledger.workers(name)) for name in parts.ledger.models()}
    return jsonify({"status": "ready", "workers": workers})
