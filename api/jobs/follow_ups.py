"""Asking on: the job before, and what of it a later job carries."""

from __future__ import annotations

from jobs.errors import InvalidRequest, PreviousJobOpen
from jobs.job import Job, Status
from jobs.ledger import Ledger
from jobs.request import Conversation, Turn

_PARAM = "previous_job_id"


def answered(ledger: Ledger, owner: str, job_id: str) -> Job:
    """Return a tenant's job that has an answer to ask on from.

    Raises PreviousJobOpen, or InvalidRequest where it is unknown or ended without an answer.
    """
    job = ledger.get(owner, job_id)
    if job is None:
        raise InvalidRequest(
            "no job of yours has this id, or it is no longer kept; send the whole conversation",
            code="previous_job_not_found",
            param=_PARAM,
        )
    if not job.status.is_terminal:
        raise PreviousJobOpen(
            "this job is not answered yet; ask on when it is",
            param=_PARAM,
            retry_after=1,
        )
    if job.status is not Status.SUCCEEDED or job.answer is None:
        raise InvalidRequest(
            "this job ended without an answer, so there is nothing to ask on from",
            code="previous_job_unanswered",
            param=_PARAM,
        )
    return job


def asked_on(job: Job, question: Conversation) -> Conversation:
    """Return a job's conversation, its answer, and then what is asked now."""
    answer = Turn("assistant", (str((job.answer or {})["text"]),))
    return Conversation((*job.conversation.turns, answer, *question.turns))
