"""What the service says of itself, to anybody."""

from __future__ import annotations

from api.openapi.answers import Health, Readiness
from api.openapi.error_codes import at_their_status
from api.openapi.operation import Answer, Operation, Section

_METRICS = """# TYPE llava_jobs_queued_jobs gauge
llava_jobs_queued_jobs{model="demo",priority="normal"} 12.0
"""

SECTION = Section(
    "The service",
    "No key is needed.",
    (
        Operation(
            "GET /healthz",
            "healthz",
            "Does the process live?",
            answers=(Answer(200, "it does", Health, {"status": "ok"}),),
        ),
        Operation(
            "GET /readyz",
            "readyz",
            "Would a job be accepted?",
            detail="No workers is not a failure: jobs are kept until some come.",
            answers=(
                Answer(200, "it would", Readiness, {"status": "ready", "workers": {"demo": 1}}),
            ),
            errors=at_their_status("store_unavailable"),
        ),
        Operation(
            "GET /metrics",
            "get_metrics",
            "Measurements for Prometheus",
            detail="Requests answered here, and what the store says of queues and workers.",
            answers=(Answer(200, "Prometheus's text format", None, _METRICS, "text/plain"),),
        ),
        Operation(
            "GET /openapi.json",
            "openapi",
            "This description for programs",
            answers=(Answer(200, "OpenAPI 3.1", None, {"openapi": "3.1.1"}),),
        ),
        Operation(
            "GET /docs",
            "docs",
            "This description for people",
            answers=(Answer(200, "a page", None, "<!doctype html>", "text/html"),),
        ),
    ),
)
