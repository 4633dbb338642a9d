"""Who is asking: the tenant of the key that a request carries."""

from __future__ import annotations

from flask import current_app, request

from jobs.errors import Unauthorized
from jobs.keys import Keys


def tenant() -> str:
    """Return the tenant of the request's ``Authorization: Bearer`` key; raises Unauthorized."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthorized("send your key as `Authorization: Bearer <key>`")
    keys: Keys = current_app.extensions["keys"]
    return keys.tenant(key.strip())
