"""Errors as the caller sees them: one function builds every error body."""

from __future__ import annotations

import json

import structlog
from flask import Flask, Response, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import (
    BadRequest,
    ClientDisconnected,
    HTTPException,
    MethodNotAllowed,
    RequestEntityTooLarge,
    RequestTimeout,
)

from jobs.errors import JobsError

_log = structlog.get_logger()

CODES = {
    400: "malformed_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "body_too_large",
    414: "url_too_long",
    415: "unsupported_media_type",
    431: "headers_too_large",
}
MIME = "application/problem+json"
_OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def problem(error: JobsError) -> Response:
    """Return an error as ``application/problem+json`` (RFC 9457) with OpenAI's ``error`` member."""
    response = Response(body(error, request.path), error.status, mimetype=MIME)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def body(error: JobsError, path: str) -> bytes:
    """Return the JSON that tells an error of a request to a path."""
    told = {
        "type": f"urn:llava-jobs:error:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.message,
        "instance": path,
        "error": openai_error(error),
    }
    return json.dumps(told).encode() + b"\n"


def openai_error(error: JobsError) -> dict[str, str | None]:
    """Return an error as OpenAI's clients read it."""
    default = "server_error" if error.status >= 500 else "invalid_request_error"
    return {
        "message": error.message,
        "type": _OPENAI_TYPES.get(error.status, default),
        "param": error.param,
        "code": error.code,
    }


def init_app(app: Flask) -> None:
    """Have every failure of a request answered by ``problem``."""
    app.register_error_handler(JobsError, problem)
    app.register_error_handler(HTTPException, http_problem)
    # gunicorn finds out that a body has no form as it is read.
    app.register_error_handler(ParseException, lambda _: http_problem(BadRequest()))
    app.register_error_handler(Exception, lambda error: problem(unexpected_error(error)))


def plain_error(error: HTTPException) -> JobsError:
    """Return an error of werkzeug's as one of ours."""
    # The caller's clock ran out while its body was read; see api.server.gunicorn_worker.
    is_slow = isinstance(error, ClientDisconnected) and isinstance(error.__context__, TimeoutError)
    if is_slow:
        error = RequestTimeout()
    status = error.code or 500
    told = JobsError(_detail(error), code=CODES.get(status, "http_error"))
    told.status, told.title = status, error.name
    return told


def http_problem(error: HTTPException) -> Response:
    """Return an error of werkzeug's as ``problem`` does."""
    response = problem(plain_error(error))
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(error.valid_methods)
    return response


def _detail(error: HTTPException) -> str:
    if isinstance(error, RequestEntityTooLarge):
        return "the request body has too many bytes or parts; send smaller or fewer pictures"
    return error.description or error.name


def unexpected_error(error: Exception) -> JobsError:
    """Log an exception that nobody foresaw, and return what is told of it."""
    _log.error("request_failed", error=type(error).__name__, exc_info=True)
    return JobsError("an unexpected error; try again, and tell us if it stays")
