"""What operators call while an installation runs: intake, workers, failed jobs, figures."""

from __future__ import annotations

from api.admin.operations import DrainWorker, FailuresQuery, OfTenant, RetryFailures
from api.openapi import examples
from api.openapi.error_codes import at_their_status
from api.openapi.examples import listed
from api.openapi.operation import Answer, Body, Operation, Section
from api.openapi.operator_answers import (
    FailureCounts,
    FailureList,
    Intake,
    LastHour,
    Retried,
    RetriedJob,
    Worker,
    WorkerList,
)
from api.openapi.parameters import JOB_ID, named, of_query
from api.openapi.sections.jobs import RETRY_ERRORS

_AT = "2026-11-25T09:00:00.000Z"
_WORKER = {
    "model": "demo",
    "state": "draining",
    "name": "gpu-1-4711-a1b2c3",
    "host": "gpu-1",
    "slots": 64,
    "slots_used": 12,
    "heartbeat_age_s": 1.6,
    "gpu_memory_bytes": 61_000_000_000,
    "gpu_memory_limit_bytes": 80_000_000_000,
    "prefix_hit_rate": 0.62,
}
_INTAKE = {
    "paused": False,
    "paused_since": None,
    "tenants": [{"tenant": "acme", "paused_since": _AT}],
}
_FAILURE = {
    "id": examples.JOB_ID,
    "tenant": "acme",
    "model": "demo",
    "reason": "error",
    "code": "out_of_memory",
    "finished_at": _AT,
}
_FIGURES = {
    "accepted": 61,
    "succeeded": 58,
    "failed": 1,
    "canceled": 0,
    "waiting_ms": {"p50": 840, "p95": 6100},
    "whole_ms": {"p50": 4100, "p95": 15000},
}
_NAME = named("name", "the worker", "gpu-1-4711-a1b2c3")
_REASON = named(
    "reason", "why they failed", "error", enum=["error", "poison", "deadline", "expired", "refused"]
)
_NO_WORKER = at_their_status("worker_not_found")

SECTION = Section(
    "Operations",
    "Controls of a running installation. The page `/console`, and `llava-jobs intake`, `workers` "
    "and `failures` in a terminal, do the same.",
    (
        Operation(
            "GET /v1/admin/intake",
            "show_intake",
            "Look whether jobs are accepted",
            answers=(Answer(200, "what is paused", Intake, _INTAKE),),
        ),
        Operation(
            "POST /v1/admin/intake/pause",
            "pause_intake",
            "Pause the intake of jobs",
            detail="Jobs are then refused with 503 and `paused`; what was accepted goes on.",
            body=Body(OfTenant, {"tenant": "acme"}),
            answers=(Answer(200, "what is paused now", Intake, _INTAKE),),
            errors=at_their_status("ledger_full"),
        ),
        Operation(
            "POST /v1/admin/intake/resume",
            "resume_intake",
            "Resume the intake of jobs",
            detail="A tenant's own pause outlives that of everybody, and the other way round.",
            body=Body(OfTenant, {"tenant": None}),
            answers=(Answer(200, "what is paused still", Intake, _INTAKE),),
        ),
        Operation(
            "GET /v1/admin/workers",
            "list_workers",
            "List workers",
            answers=(Answer(200, "the live ones", WorkerList, listed(_WORKER)),),
        ),
        Operation(
            "POST /v1/admin/workers/{name}/drain",
            "drain_worker",
            "Drain a worker",
            detail="It is given no more jobs. Those that it has it finishes, or hands back with no "
            "try charged.",
            parameters=(_NAME,),
            body=Body(DrainWorker, {"hand_back": False}),
            answers=(Answer(200, "the worker", Worker, _WORKER),),
            errors=_NO_WORKER,
        ),
        Operation(
            "POST /v1/admin/workers/{name}/resume",
            "resume_worker",
            "Give a drained worker jobs again",
            parameters=(_NAME,),
            answers=(Answer(200, "the worker", Worker, {**_WORKER, "state": "ready"}),),
            errors=_NO_WORKER,
        ),
        Operation(
            "GET /v1/admin/failures",
            "count_failures",
            "Count failed jobs",
            answers=(
                Answer(200, "by reason", FailureCounts, listed({"reason": "error", "count": 3})),
            ),
        ),
        Operation(
            "GET /v1/admin/failures/{reason}",
            "list_failures",
            "List failed jobs",
            parameters=(_REASON, *of_query(FailuresQuery, limit=20)),
            answers=(Answer(200, "the newest", FailureList, listed(_FAILURE)),),
        ),
        Operation(
            "POST /v1/admin/failures/{reason}/retry",
            "retry_failures",
            "Ask failed jobs again",
            detail="Oldest first, at most 200 at a time, each once.",
            parameters=(_REASON,),
            body=Body(RetryFailures, {"skip": 0}),
            answers=(
                Answer(
                    200,
                    "what became of them",
                    Retried,
                    {"retried": 2, "not_retried": {"image_expired": 1}, "left": 0, "skip": 1},
                ),
            ),
        ),
        Operation(
            "POST /v1/admin/jobs/{job_id}/retry",
            "retry_any_job",
            "Ask a job again, whoever's it is",
            parameters=(JOB_ID,),
            answers=(
                Answer(
                    202,
                    "the new job, without what it asks",
                    RetriedJob,
                    {"id": examples.JOB_ID, "tenant": "acme", "retry_of": examples.JOB_ID},
                ),
            ),
            errors=RETRY_ERRORS,
        ),
        Operation(
            "GET /v1/admin/figures",
            "show_figures",
            "Look at the last hour",
            answers=(
                Answer(
                    200,
                    "minute by minute, and as a whole",
                    LastHour,
                    {"minutes": [{"at": _AT, **_FIGURES}], "hour": _FIGURES},
                ),
            ),
        ),
    ),
)
