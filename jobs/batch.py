"""A batch: a file of requests, each of which becomes a job, and the files of their answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MOST_LINES = 50_000
"""Requests that one batch may have."""
MOST_OPEN = 500
"""Batches of one tenant that may be under way."""
WINDOW_MS = 86_400_000


class BatchStatus(StrEnum):
    """The states of a batch, in OpenAI's words."""

    VALIDATING = "validating"
    """Its input is being read through, before any of it is run."""
    FAILED = "failed"
    """Its input cannot be run; `errors` say why. Final."""
    IN_PROGRESS = "in_progress"
    """Its lines are being run."""
    FINALIZING = "finalizing"
    """Nothing is run any more; what is missing in its files is being written."""
    COMPLETED = "completed"
    """Each line is in one of its files. Final."""
    EXPIRED = "expired"
    """Its window was over before all was run. Final."""
    CANCELLING = "cancelling"
    """What runs is being stopped."""
    CANCELLED = "cancelled"
    """Stopped on request; what was answered before is kept. Final."""


@dataclass(frozen=True)
class BatchLine:
    """The line of a batch that asks for a job.

    ``number`` counts from 1; ``after`` is the number of the last line before it that was dealt
    with; ``offset`` is where in the input, in bytes, the next one begins.
    """

    batch: str
    number: int
    custom_id: str
    after: int
    offset: int

    @property
    def job_id(self) -> str:
        """The job's id, whoever makes it: so that a line that is fed twice is one job."""
        return f"job_{line_digest(self.batch, self.number)}"

    def to_json(self) -> str:
        """Return the line as submit.lua reads it."""
        return json.dumps(vars(self))


def line_digest(batch: str, number: int) -> str:
    """Return 128 bits in hex that stand for a line; as hard to guess as the batch's id."""
    return hashlib.sha256(f"{batch}:{number}".encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Batch:
    """A batch as the store holds it; times in milliseconds since the epoch.

    ``times`` says when it came into each state but the first; ``total`` is None until its input has
    been read through. ``line`` is the last line that was dealt with, ``offset`` where in the input
    the next one begins. ``stopping`` is why what is left of it is not run, where that is so.
    """

    id: str
    tenant: str
    status: BatchStatus
    endpoint: str
    window: str
    input_file: str
    output_file: str
    error_file: str
    metadata: Mapping[str, str] | None
    created_at: int
    expires_at: int
    times: Mapping[BatchStatus, int]
    total: int | None
    completed: int
    failed: int
    tokens: Mapping[str, int]
    problems: tuple[Mapping[str, Any], ...]
    stopping: BatchStatus | None
    line: int
    offset: int

    @classmethod
    def from_record(cls, record: Mapping[str, str]) -> Batch:
        """Read a batch from the fields of its hash."""
        counted = ("prompt_tokens", "cached_tokens", "completion_tokens")
        return cls(
            id=record["id"],
            tenant=record["tenant"],
            status=BatchStatus(record["status"]),
            endpoint=record["endpoint"],
            window=record["window"],
            input_file=record["input"],
            output_file=record["output"],
            error_file=record["errors"],
            metadata=json.loads(record["metadata"]),
            created_at=int(record["created"]),
            expires_at=int(record["expires"]),
            times={s: int(record[s]) for s in BatchStatus if s in record},
            total=int(record["total"]) if "total" in record else None,
            completed=int(record.get("done", 0)),
            failed=int(record.get("bad", 0)),
            tokens={name: int(record.get(name, 0)) for name in counted},
            problems=tuple(json.loads(record.get("problems", "[]"))),
            stopping=BatchStatus(record["stopping"]) if "stopping" in record else None,
            line=int(record["line"]),
            offset=int(record["offset"]),
        )
