"""Who is asking, and whether they may: the key that a request carries.

One rule gives every route under ``/v1`` the scopes that it needs, so that none can be without.
A key that lacks ``read`` is shown nothing that was asked, answered or sent, whatever it may call.
"""

from __future__ import annotations

from flask import Flask, g, request

from api.http import rate_limits
from api.http.request_log import known_as
from jobs.errors import Forbidden, Unauthorized
from jobs.keys import Key, Scope

_ANSWERING = frozenset({"/v1/chat/completions"})
"""Routes that are called for what they answer, and would be of no use without it."""


def init_app(app: Flask) -> None:
    """Have every request to a route under ``/v1`` refused that carries no key with its scope.

    What a tenant may send is spent here too, by whatever key of its own.
    """
    app.before_request(_admit)


def tenant() -> str:
    """Return the tenant of the request's key."""
    caller: Key = g.caller
    return caller.tenant


def needed_scopes(method: str, rule: str) -> tuple[Scope, ...]:
    """Return the scopes that a route needs, all of them; none where anybody may call it."""
    if not rule.startswith("/v1/") or method == "OPTIONS":
        return ()
    if rule.startswith("/v1/admin/"):
        return (Scope.ADMIN,)
    if method in {"GET", "HEAD"}:
        return (Scope.READ,)
    return (Scope.SUBMIT, Scope.READ) if rule in _ANSWERING else (Scope.SUBMIT,)


def may(scope: Scope) -> bool:
    """Whether the request's key has a scope."""
    caller: Key = g.caller
    return scope in caller.scopes


def require(scope: Scope) -> None:
    """Raise Forbidden where the request's key has not a scope."""
    if not may(scope):
        raise Forbidden(f"this needs a key with the scope {scope.value}; this one has it not")


def _admit() -> None:
    rule = request.url_rule
    scopes = needed_scopes(request.method, rule.rule) if rule else ()
    if scopes:
        g.caller, share = rate_limits.admit(_presented())
        known_as(tenant=g.caller.tenant)
        rate_limits.hold_to(share)
        for scope in scopes:
            require(scope)


def _presented() -> str:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthorized("send your key as `Authorization: Bearer <key>`")
    return key.strip()
