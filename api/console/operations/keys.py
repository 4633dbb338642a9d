"""The page of keys and tenants: who may call the API, and how much."""

from __future__ import annotations

import time
from collections.abc import Sequence

from flask import Blueprint, redirect, request, url_for
from werkzeug.wrappers import Response

from api.console.rendering import page
from api.services import services
from jobs.errors import ConfigurationError, InvalidRequest
from jobs.keys import Key, Scope
from jobs.tenants import MOST_BYTES, Tenant, TenantLimits, is_name

bp = Blueprint("keys", __name__, url_prefix="/console/keys")

MOST_SHOWN = 100
MOST_NAMED = 1_000
"""Tenants that the page offers to choose from."""
LIVES = {"": None, "30": 30 * 86_400, "90": 90 * 86_400, "365": 365 * 86_400}
"""How long a key may be made to work, by days; seconds."""
OVERLAPS = {"0": 0, "1": 3_600, "24": 86_400, "168": 7 * 86_400}
"""How long the secret before may work after a rotation, by hours; seconds."""
DONE = frozenset({"revoked", "limited"})


@bp.get("")
def show() -> Response:
    """Show the keys and the tenants, or those of one tenant."""
    return _page()


@bp.post("")
def create() -> Response:
    """Make a key, and show it this once."""
    tenant = request.form.get("tenant", "").strip()
    scopes = [scope for scope in Scope if scope in request.form.getlist("scope")]
    life = request.form.get("life", "")
    if not is_name(tenant):
        return _page(422, error="no_tenant")
    if not scopes:
        return _page(422, error="no_scope")
    if life not in LIVES:
        return _page(422, error="no_life")
    made = services().keys.create(tenant, scopes=scopes, expires_in_s=LIVES[life])
    return _page(made=made)


@bp.post("/<key_id>/rotate")
def rotate(key_id: str) -> Response:
    """Give a key a new secret, and show it this once."""
    overlap = OVERLAPS.get(request.form.get("overlap", ""))
    if overlap is None:
        raise InvalidRequest("choose how long the secret before works", param="overlap")
    return _page(made=services().keys.rotate(key_id, overlap))


@bp.post("/<key_id>/revoke")
def revoke(key_id: str) -> Response:
    """Make a key unknown."""
    services().keys.revoke(key_id)
    return redirect(url_for("pages.keys.show", done="revoked"), 303)


@bp.post("/limits")
def limit() -> Response:
    """Set all limits of a tenant."""
    tenant = request.form.get("tenant", "")
    try:
        limits = TenantLimits(
            _number("queued_jobs", 0, 10**9),
            _number("requests_per_minute", 1, 10**6),
            _number("retention_s", 1, 3_650 * 86_400),
            _number("image_bytes", 0, MOST_BYTES),
        )
        services().tenants.set_limits(tenant, limits)
    except (ValueError, ConfigurationError):
        return _page(422, error="no_limit")
    return redirect(url_for("pages.keys.show", done="limited"), 303)


def _page(status: int = 200, *, made: str | None = None, error: str | None = None) -> Response:
    parts = services()
    wanted = request.args.get("tenant", "").strip()
    keys, after = parts.keys.page(
        tenant=wanted or None, after=request.args.get("after"), limit=MOST_SHOWN
    )
    everyone, _ = parts.tenants.page(limit=MOST_NAMED)
    done = request.args.get("done")
    return page(
        "keys.html",
        status,
        here=None if request.method == "GET" else url_for("pages.keys.show"),
        keys=keys,
        after=after,
        most=MOST_SHOWN,
        everyone=[one.name for one in everyone],
        tenants=_only(wanted, keys) if wanted else everyone[:MOST_SHOWN],
        scopes=list(Scope),
        lives=list(LIVES),
        overlaps=list(OVERLAPS),
        wanted=wanted,
        now=time.time(),
        made=made,
        error=error,
        done=done if done in DONE else None,
    )


def _only(name: str, keys: Sequence[Key]) -> list[Tenant]:
    """Return one tenant, if it has keys or limits."""
    tenants = services().tenants
    limits = tenants.limits(name)
    is_known = keys or limits != TenantLimits()
    return [Tenant(name, tenants.queued(name), limits)] if is_known else []


def _number(name: str, least: int, most: int) -> int | None:
    text = request.form.get(name, "").strip()
    if not text:
        return None
    if not text.isdecimal() or not least <= (number := int(text)) <= most:
        raise ValueError(name)
    return number
