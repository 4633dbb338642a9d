"""Errors that every call of a kind may be answered with, beside those of its own."""

from __future__ import annotations

from api.http.auth import needed_scopes
from api.openapi.error_codes import at_their_status, together
from api.openapi.operation import Errors, Operation
from jobs.keys import Scope

_ANY = at_their_status(
    *("malformed_request", "url_too_long", "headers_too_large", "internal_error")
)
_KEYED = at_their_status(
    *("invalid_api_key", "expired_api_key", "insufficient_scope", "rate_limited"),
    "store_unavailable",
)
_NAMED = at_their_status("not_found")
_ASKED = at_their_status("invalid_field", "unknown_field")
_SENT = at_their_status(
    *("malformed_request", "malformed_json", "not_an_object", "unsupported_media_type"),
    *("request_timeout", "connections_full", "too_many_bodies", "bodies_full"),
    *("body_too_large", "missing_field", "unknown_field", "invalid_field"),
)


def scopes_of(operation: Operation) -> tuple[Scope, ...]:
    """Return the scopes that a call needs, all of them; none where anybody may call it."""
    return needed_scopes(operation.method, operation.path)


def errors_of(operation: Operation) -> Errors:
    """Return all errors of a call by status."""
    places = {parameter.place for parameter in operation.parameters}
    return together(
        operation.errors,
        _SENT if operation.body else {},
        _NAMED if "path" in places else {},
        _ASKED if "query" in places else {},
        _KEYED if scopes_of(operation) else {},
        _ANY,
    )
