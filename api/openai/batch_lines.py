"""The lines of a batch: what comes in, as far as it is checked at once, and what is written."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from api.http.errors import openai_error
from api.jobs.response import represent
from api.openai.chat_response import NotAnswered, completion
from api.openai.errors import as_clients_know_it
from jobs.batch import MOST_LINES, Batch, BatchStatus, line_digest
from jobs.batches import Ended, Written
from jobs.errors import InvalidRequest, JobsError, MalformedRequest, as_data
from jobs.job import Status

MOST_PROBLEMS = 100
"""Lines that a batch says are wrong; there may be more."""
MAX_CUSTOM_ID_CHARS = 512


@dataclass(frozen=True)
class Asked:
    """What a line asks for."""

    custom_id: str
    body: dict[str, Any]


class Seen:
    """Which texts there have been, up to 50,000, in a megabyte however long they are."""

    _SLOTS = 1 << 17

    def __init__(self) -> None:
        self._digests = array("Q", [0]) * self._SLOTS

    def add(self, text: str) -> bool:
        """Take a text; False where it was there before."""
        digest = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) or 1
        slot = digest % self._SLOTS
        while self._digests[slot]:
            if self._digests[slot] == digest:
                return False
            slot = (slot + 1) % self._SLOTS
        self._digests[slot] = digest
        return True


def read_line(text: bytes, endpoint: str) -> Asked:
    """Return what a line asks for; raises InvalidRequest where it cannot be told."""
    try:
        # Its cache would keep thousands of texts of lines that are dealt with.
        line = from_json(text, allow_inf_nan=False, cache_strings="keys")
    except ValueError:
        line = None
    if not isinstance(line, dict):
        raise MalformedRequest("this line is not a JSON object", code="invalid_json_line")
    for name, kind in (("custom_id", str), ("method", str), ("url", str), ("body", dict)):
        if name not in line:
            raise InvalidRequest(
                f"{name} is missing", code="missing_required_parameter", param=name
            )
        if not isinstance(line[name], kind):
            told = "a text" if kind is str else "an object"
            raise InvalidRequest(f"{name} must be {told}", code="invalid_field", param=name)
    if not 1 <= len(line["custom_id"]) <= MAX_CUSTOM_ID_CHARS:
        told = f"a custom_id has 1 to {MAX_CUSTOM_ID_CHARS} characters"
        raise InvalidRequest(told, code="invalid_field", param="custom_id")
    if line["method"] != "POST":
        raise InvalidRequest("the method must be POST", code="invalid_method", param="method")
    if line["url"] != endpoint:
        raise InvalidRequest(
            f"the url must be the batch's endpoint, {endpoint}", code="invalid_url", param="url"
        )
    return Asked(line["custom_id"], line["body"])


def looked_through(
    lines: Iterable[tuple[bytes, int]], endpoint: str
) -> tuple[int, list[dict[str, Any]]]:
    """Return how many requests an input has, and what is wrong with it, as OpenAI tells it."""
    seen, total, number = Seen(), 0, 0
    problems: list[dict[str, Any]] = []
    try:
        for text, _ in lines:
            number += 1
            if not text.strip():
                continue
            total += 1
            if total > MOST_LINES:
                told = f"a batch may have at most {MOST_LINES} requests; make several"
                return total, [problem(InvalidRequest(told, code="too_many_tasks"))]
            wrong = _wrong(text, endpoint, seen)
            if wrong and len(problems) < MOST_PROBLEMS:
                problems.append(problem(wrong, number))
    except InvalidRequest as too_large:
        problems.append(problem(too_large, number + 1))
    if not total and not problems:
        told = "the file has no request; send one on each line"
        problems = [problem(InvalidRequest(told, code="empty_file"))]
    return total, problems


def _wrong(text: bytes, endpoint: str, seen: Seen) -> InvalidRequest | None:
    try:
        asked = read_line(text, endpoint)
    except InvalidRequest as error:
        return error
    if seen.add(asked.custom_id):
        return None
    return InvalidRequest(
        "another request before has this custom_id",
        code="duplicate_custom_id",
        param="custom_id",
    )


def problem(error: InvalidRequest, line: int | None = None) -> dict[str, Any]:
    """Return what is wrong with an input, or with a line of it, as OpenAI tells it."""
    return {"code": error.code, "message": error.message, "param": error.param, "line": line}


def answered(batch: Batch, ended: Ended) -> Written:
    """Return what is written of a job that has ended, or was erased."""
    job = ended.job
    place = (batch, ended.number, ended.custom_id)
    if job is None:
        told = as_data("job_erased", "the job of this request was erased")
        return Written(ended.job_id, "errors", _failed(*place, told))
    if batch.stopping and job.status is Status.CANCELED:
        return Written(ended.job_id, "errors", _failed(*place, _not_run(batch.stopping)))
    try:
        body = completion(job, represent(job))
    except NotAnswered as error:
        return refused(*place, error, job.id)
    response = {"status_code": 200, "request_id": job.id, "body": body}
    line = {**_head(*place), "response": response, "error": None}
    return Written(ended.job_id, "output", _text(line))


def refused(
    batch: Batch, number: int, custom_id: str, error: JobsError, job_id: str = ""
) -> Written:
    """Return what is written of a request that was answered with an error."""
    told = as_clients_know_it(error)
    head = _head(batch, number, custom_id)
    response = {
        "status_code": told.status,
        "request_id": job_id or head["id"],
        "body": {"error": openai_error(told)},
    }
    line = {**head, "response": response, "error": None, "line": number}
    return Written(job_id, "errors", _text(line))


def not_run(batch: Batch, number: int, custom_id: str) -> Written:
    """Return what is written of a request that was not begun when its batch was stopped."""
    told = _not_run(batch.stopping or BatchStatus.CANCELLED)
    return Written("", "errors", _failed(batch, number, custom_id, told))


def _not_run(why: BatchStatus) -> dict[str, Any]:
    if why is BatchStatus.EXPIRED:
        return as_data("batch_expired", "the batch's window was over before this was answered")
    return as_data("batch_cancelled", "the batch was cancelled before this was answered")


def _failed(batch: Batch, number: int, custom_id: str, error: dict[str, Any]) -> str:
    head = _head(batch, number, custom_id)
    return _text({**head, "response": None, "error": error, "line": number})


def _head(batch: Batch, number: int, custom_id: str) -> dict[str, Any]:
    return {"id": f"batch_req_{line_digest(batch.id, number)}", "custom_id": custom_id}


def _text(line: dict[str, Any]) -> str:
    # ASCII: some readers end a line at other characters, too, that an answer may have.
    return json.dumps(line) + "\n"
