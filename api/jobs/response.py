"""A job as the API shows it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jobs.errors import as_data
from jobs.job import Job, Reason, Status

_ENDINGS = {
    Reason.DEADLINE: ("deadline_exceeded", "the deadline passed before the job was answered"),
    Reason.EXPIRED: ("expired", "the job was not answered within its lifetime"),
    Reason.POISON: ("poison", "the worker crashed each time it ran this job"),
    Reason.REFUSED: ("refused", "the content policy refused this job"),
}


def represent(job: Job, queue: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a job in the contract's shape; ``queue`` is what is said of its place, if it waits."""
    own_error = dict(job.error) if job.error else None
    ending = as_data(*_ENDINGS[job.reason]) if job.reason in _ENDINGS else None
    return {
        "id": job.id,
        "status": job.status,
        "status_reason": job.reason,
        "model": job.model,
        "question": job.conversation.question,
        "answer": job.answer,
        "error": (own_error or ending) if job.status is Status.FAILED else None,
        "created_at": moment(job.created_at),
        "started_at": moment(job.started_at),
        "finished_at": moment(job.finished_at),
        "expires_at": moment(job.expires_at),
        "cancel_requested_at": moment(job.cancel_requested_at),
        "compute_stopped_at": moment(job.compute_stopped_at),
        "tokens_after_cancel": (job.receipt or {}).get("tokens_after_request"),
        "priority": job.priority,
        "queue": queue,
        "attempts": [
            {
                "number": attempt.number,
                "worker": attempt.worker,
                "started_at": moment(attempt.started_at),
                "ended_at": moment(attempt.ended_at),
                "outcome": attempt.outcome,
            }
            for attempt in job.attempts
        ],
        "usage": job.usage,
        "timing": job.timing,
        "previous_job_id": job.previous,
        "deduplicated_from": job.deduplicated_from,
        "group": job.group,
        "metadata": job.metadata,
        "webhook_status": job.webhook_status,
        "links": {
            "self": f"/v1/jobs/{job.id}",
            "cancel": f"/v1/jobs/{job.id}/cancel",
            "stream": f"/v1/jobs/{job.id}/stream",
        },
    }


def receipt(job: Job) -> dict[str, Any]:
    """Return what a key may know of a job that it may not read: none of what people said."""
    return {
        "id": job.id,
        "status": job.status,
        "cancel_requested_at": moment(job.cancel_requested_at),
    }


def moment(epoch_ms: int | None) -> str | None:
    """Return a time as RFC 3339 in UTC with milliseconds; None stays None."""
    if epoch_ms is None:
        return None
    text = datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
