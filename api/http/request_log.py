"""Each request as operators see it: counted, timed, and told in one line of log.

A line names the route and never the path, in which anything may stand.
"""

from __future__ import annotations

import re
import time

import structlog
from flask import Flask, Response, current_app, g, request
from structlog.contextvars import bind_contextvars, clear_contextvars

from api.monitoring.metrics import HttpMetrics
from jobs.tracing import trace_id, traceparent

_REQUEST_ID = re.compile(r"[0-9a-f]{32}")
_log = structlog.get_logger()
_QUIET = frozenset({"/healthz", "/readyz", "/metrics", "/static/<path:filename>"})
"""Routes that are asked every few seconds: of these, failures alone are logged."""


def init_app(app: Flask, metrics: HttpMetrics, *, logged: bool) -> None:
    """Have every request counted, and logged unless ``logged`` says otherwise.

    What is logged meanwhile carries the request's id, trace, tenant and job, as far as known.
    """
    app.extensions["http_metrics"] = metrics
    app.config["ACCESS_LOG"] = logged
    app.before_request(_begin)
    app.after_request(_end)


def known_as(**names: str | None) -> None:
    """Have the lines of this request say whose it is, or what it is about."""
    bind_contextvars(**{name: value for name, value in names.items() if value is not None})


def _begin() -> None:
    # A thread of the server's has many requests, one after the other.
    clear_contextvars()
    g.began = time.perf_counter()
    g.traceparent = traceparent(request.headers.get("traceparent"))
    known_as(trace=trace_id(g.traceparent), request=_request_id())


def _request_id() -> str | None:
    """Return the id that nginx gave a request; None where nothing in front of us gave one."""
    told = request.headers.get("X-Request-ID", "")
    return told if _REQUEST_ID.fullmatch(told) else None


def _end(response: Response) -> Response:
    # A request that cannot even be read has no beginning.
    now = time.perf_counter()
    seconds = now - g.get("began", now)
    route = request.url_rule.rule if request.url_rule else "none"
    metrics: HttpMetrics = current_app.extensions["http_metrics"]
    metrics.count(route, request.method, response.status_code, seconds)
    if current_app.config["ACCESS_LOG"] and (route not in _QUIET or response.status_code >= 500):
        _log.info(
            "request",
            method=metrics.named(request.method),
            route=route,
            status=response.status_code,
            ms=round(1000 * seconds, 1),
        )
    return response
