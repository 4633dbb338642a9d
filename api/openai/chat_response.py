"""A job as OpenAI's clients read it: a chat completion, and the chunks of one."""

from __future__ import annotations

from typing import Any

from jobs.errors import JobsError, as_data
from jobs.job import Job

_ASKED_WRONGLY = (
    *("invalid_request", "prompt_too_long", "too_many_images"),
    *("image_unreadable", "image_expired"),
)
_STATUSES = {
    **dict.fromkeys((*_ASKED_WRONGLY, "refused"), 400),
    **dict.fromkeys(("deadline_exceeded", "expired"), 504),
    "job_canceled": 409,
}
"""Of what a job ended with; all else is a fault of ours."""


class NotAnswered(JobsError):
    """Raised where a completion's job has no answer; ``job`` is its id.

    ``final`` where it never will have one: its workers tried as often as they may.
    """

    title = "There is no answer"

    def __init__(self, job: str, message: str, *, code: str, status: int, final: bool) -> None:
        super().__init__(message, code=code, retry_after=None if final else 1)
        self.job = job
        self.status = status
        self.final = final


def completion(job: Job, ended: dict[str, Any]) -> dict[str, Any]:
    """Return a finished job, as the API shows it, as a chat completion; raises NotAnswered."""
    check(ended)
    answer = ended["answer"]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": answer["text"]},
        "finish_reason": answer["finish_reason"],
        "logprobs": None,
    }
    return {
        **_head(job, "chat.completion"),
        "choices": [choice],
        "usage": _usage(ended["usage"]),
    }


class Chunks:
    """The chunks of one completion; each has a ``usage`` where the caller wants it."""

    def __init__(self, job: Job, *, with_usage: bool) -> None:
        self._job = job
        self._extra: dict[str, Any] = {"usage": None} if with_usage else {}

    def first(self) -> dict[str, Any]:
        """Return the chunk that says who speaks."""
        return self._chunk({"role": "assistant", "content": ""})

    def piece(self, text: str) -> dict[str, Any]:
        """Return a piece of the answer."""
        return self._chunk({"content": text})

    def last(self, ended: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what comes behind the answer of a finished job; raises NotAnswered."""
        check(ended)
        chunks = [self._chunk({}, ended["answer"]["finish_reason"])]
        if self._extra:
            usage = _usage(ended["usage"])
            chunks.append({**_head(self._job, _CHUNK), "choices": [], "usage": usage})
        return chunks

    def _chunk(self, delta: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return {**_head(self._job, _CHUNK), "choices": [choice], **self._extra}


_CHUNK = "chat.completion.chunk"


def check(ended: dict[str, Any]) -> None:
    """Raise NotAnswered where a job has ended without an answer."""
    if ended["status"] == "succeeded":
        return
    error = ended["error"] or as_data("job_canceled", "the job was canceled")
    code = error["code"]
    raise NotAnswered(
        ended["id"], error["message"], code=code, status=_STATUSES.get(code, 500), final=True
    )


def _head(job: Job, kind: str) -> dict[str, Any]:
    return {"id": job.id, "object": kind, "created": job.created_at // 1000, "model": job.model}


def _usage(counts: dict[str, int]) -> dict[str, Any]:
    prompt, said = counts["prompt_tokens"], counts["completion_tokens"]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": said,
        "total_tokens": prompt + said,
        "prompt_tokens_details": {"cached_tokens": counts["cached_tokens"]},
    }
