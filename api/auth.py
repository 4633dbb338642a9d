"""Who is asking, and whether they may: the key that a request carries.

One rule gives every route under ``/v1`` the scope that it needs, so that none can be without.
"""

from __future__ import annotations

from flask import Flask, g, request

from api import rates
from api.access import known_as
from jobs.errors import Forbidden, Unauthorized
from jobs.keys import Key, Scope


def init_app(app: Flask) -> None:
    """Have every request to a route under ``/v1`` refused that carries no key with its scope.

    What a tenant may send is spent here too, by whatever key of its own.
    """
    app.before_request(_admit)


def tenant() -> str:
    """Return the tenant of the request's key."""
    caller: Key = g.caller
    return caller.tenant


def needed_scope(method: str, rule: str) -> Scope | None:
    """Return the scope that a route needs; None where anybody may call it."""
    if not rule.startswith("/v1/") or method == "OPTIONS":
        return None
    if rule.startswith("/v1/admin/"):
        return Scope.ADMIN
    return Scope.READ if method in {"GET", "HEAD"} else Scope.SUBMIT


def require(scope: Scope) -> None:
    """Raise Forbidden where the request's key has not a scope."""
    caller: Key = g.caller
    if scope not in caller.scopes:
        raise Forbidden(f"this needs a key with the scope {scope.value}; this one has it not")


def _admit() -> None:
    scope = needed_scope(request.method, request.url_rule.rule) if request.url_rule else None
    if scope is not None:
        g.caller, share = rates.admit(_presented())
        known_as(tenant=g.caller.tenant)
        rates.hold_to(share)
        require(scope)


def _presented() -> str:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthorized("send your key as `Authorization: Bearer <key>`")
    return key.strip()
