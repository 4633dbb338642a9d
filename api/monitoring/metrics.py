"""What Prometheus is told by the API: requests by this server, and the signals of the store.

A server may be several processes. Its gunicorn gives them a folder in which each counts (see
api/server/gunicorn_conf.py), and whichever is asked adds them up. What the store says is read at
the moment.
"""

from __future__ import annotations

import os

from flask import Blueprint, Response, current_app
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from api.monitoring.store_metrics import SignalMetrics

bp = Blueprint("metrics", __name__)

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable by which prometheus_client knows that folder."""
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


class HttpMetrics:
    """The requests that this process has answered, or all of its server where it is one of several.

    Labels are routes as they are declared, methods and statuses: a caller cannot make new ones.
    """

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._own = CollectorRegistry()
        self._requests = Counter(
            "llava_jobs_http_requests",
            "Requests answered",
            ["route", "method", "status"],
            registry=self._own,
        )
        self._seconds = Histogram(
            "llava_jobs_http_request_duration_seconds",
            "Time from a request to the beginning of its answer",
            ["route"],
            buckets=BUCKETS_S,
            registry=self._own,
        )

    def named(self, method: str) -> str:
        """Return a method as a label; what HTTP does not know is all one."""
        return method if method in _METHODS else "OTHER"

    def count(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._requests.labels(route, self.named(method), status).inc()
        self._seconds.labels(route).observe(seconds)

    def exposition(self) -> bytes:
        """Return the counts in Prometheus's text format."""
        if FOLDER not in os.environ:
            return generate_latest(self._own)
        every = CollectorRegistry()
        MultiProcessCollector(every)  # type: ignore[no-untyped-call]
        return generate_latest(every)


@bp.get("/metrics")
def metrics() -> Response:
    """Show the metrics of this server and of the store; no tenant is named to whoever asks."""
    http: HttpMetrics = current_app.extensions["http_metrics"]
    signals: SignalMetrics = current_app.extensions["signal_metrics"]
    told = CollectorRegistry()
    told.register(signals)
    return Response(http.exposition() + generate_latest(told), content_type=CONTENT_TYPE_LATEST)
