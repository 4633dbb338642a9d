"""A job: what was asked, where it stands, and how it ended."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from jobs.batch import BatchLine
from jobs.request import Conversation, Parameters
from jobs.webhook import Told, Webhook

RECORD_VERSION = 2
"""Raised when the form of a record changes; tests/previous runs the one before beside it."""


class Status(StrEnum):
    """The five states of a job; docs/architecture.md draws the ways between them."""

    QUEUED = "queued"
    """Accepted and on disk; waits for a worker, or for another try."""
    PROCESSING = "processing"
    """Held by one worker under a lease."""
    SUCCEEDED = "succeeded"
    """Answered. Final."""
    FAILED = "failed"
    """Ended without an answer; `error` and `status_reason` say why. Final."""
    CANCELED = "canceled"
    """Stopped on request. Final."""

    @property
    def is_terminal(self) -> bool:
        """Whether a job in this state never changes again."""
        return self in {Status.SUCCEEDED, Status.FAILED, Status.CANCELED}


class Reason(StrEnum):
    """Why a job ended as it did, where its state alone does not say."""

    DEADLINE = "deadline"
    EXPIRED = "expired"
    POISON = "poison"
    SUPERSEDED = "superseded"
    REFUSED = "refused"
    ERROR = "error"
    CANCELED = "canceled"


class Priority(StrEnum):
    """The class a job waits in; claims are shared 8 : 3 : 1 between classes that wait."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


@dataclass(frozen=True)
class Draft:
    """A job before it is accepted: everything that its submitter decides."""

    tenant: str
    model: str
    conversation: Conversation
    parameters: Parameters = field(default_factory=Parameters)
    priority: Priority = Priority.NORMAL
    deadline_ms: int | None = None
    """Milliseconds from acceptance to the moment after which an answer is worthless."""
    group: str | None = None
    supersede: bool = False
    """Whether what the group asked before is no longer wanted."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    idempotency_key: str | None = None
    fingerprint: str = ""
    """Digest of the request body: tells a repeated request from another under the same key."""
    previous: str | None = None
    """The job whose conversation this one goes on with."""
    cache: bool = True
    """Whether another job's work may answer this one, and this one's others."""
    revision: str = ""
    """Revision of the model: another one may answer otherwise."""
    webhook: Webhook | None = None
    batch: BatchLine | None = None
    """The line of a batch that asks for it."""
    trace: str | None = None
    """W3C traceparent of what it is part of; no part of what it asks."""
    key: str = ""
    """Id of the API key whose owner finds it among their latest; empty where nobody does."""
    pictures: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Canonical bytes, by digest, of those it shows that are to be stored with it."""
    id: str = field(default_factory=lambda: new_id("job"))

    @property
    def work(self) -> str:
        """Digest of what decides the answer; jobs of a tenant that have it in common share one."""
        decides = (
            self.model,
            self.revision,
            self.conversation.to_data(),
            self.parameters.to_data(),
        )
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    def request_json(self) -> str:
        """Return what never changes of a job, as one JSON text."""
        request: dict[str, Any] = {
            "conversation": self.conversation.to_data(),
            "parameters": self.parameters.to_data(),
            "metadata": dict(self.metadata),
        }
        if self.previous:
            request["previous"] = self.previous
        return json.dumps(request, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class Attempt:
    """One worker's try at a job; times in milliseconds since the epoch."""

    number: int
    worker: str
    started_at: int
    ended_at: int | None = None
    outcome: str | None = None


@dataclass(frozen=True)
class Job:
    """A job as the ledger holds it; times in milliseconds since the epoch."""

    id: str
    tenant: str
    model: str
    status: Status
    reason: Reason | None
    priority: Priority
    group: str | None
    conversation: Conversation
    parameters: Parameters
    metadata: Mapping[str, Any]
    created_at: int
    started_at: int | None
    finished_at: int | None
    expires_at: int | None
    due_at: int
    """When the job fails as past its deadline, or as expired."""
    has_deadline: bool
    cancel_requested_at: int | None
    compute_stopped_at: int | None
    attempts: tuple[Attempt, ...]
    answer: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    usage: Mapping[str, Any] | None
    timing: Mapping[str, Any] | None
    receipt: Mapping[str, Any] | None
    deduplicated_from: str | None
    """The job whose work answers this one."""
    previous: str | None
    """The job whose conversation this one goes on with."""
    webhook_status: Told | None
    """Whether its receiver has been told; None where there is nothing to tell, or not yet."""
    retried_as: str | None
    """The job that asks again what this one asked in vain."""
    trace: str | None
    """W3C traceparent under which it was accepted."""
    version: int
    position: int | None = field(default=None, compare=False)
    """Its place in its class, itself included, where it has just been queued."""

    @classmethod
    def from_record(cls, record: Mapping[str, str]) -> Job:
        """Read a job from the fields of its hash; fields of a newer version are left alone."""
        request = json.loads(record["request"])

        def number(name: str) -> int | None:
            return int(record[name]) if record.get(name) else None

        def data(name: str) -> Any:
            return json.loads(record[name]) if record.get(name) else None

        return cls(
            id=record["id"],
            tenant=record["tenant"],
            model=record["model"],
            status=Status(record["status"]),
            reason=Reason(record["reason"]) if record.get("reason") else None,
            priority=Priority(record["class"]),
            group=record.get("group") or None,
            conversation=Conversation.from_data(request["conversation"]),
            parameters=Parameters.from_data(request["parameters"]),
            metadata=request["metadata"],
            created_at=int(record["created"]),
            started_at=number("started"),
            finished_at=number("finished"),
            expires_at=number("expires"),
            due_at=int(record["due"]),
            has_deadline=record.get("deadline") == "1",
            cancel_requested_at=number("cancel_requested"),
            compute_stopped_at=number("compute_stopped"),
            attempts=tuple(Attempt(**a) for a in data("attempts") or ()),
            answer=data("answer"),
            error=data("error"),
            usage=data("usage"),
            timing=data("timing"),
            receipt=data("receipt"),
            deduplicated_from=record.get("deduplicated_from") or None,
            previous=request.get("previous"),
            webhook_status=Told(record["webhook_status"]) if record.get("webhook_status") else None,
            retried_as=record.get("retried_as") or None,
            trace=record.get("trace") or None,
            version=int(record["v"]),
        )


@dataclass(frozen=True)
class Claim:
    """A job in the hands of one worker, with the fencing token that lets it be finished.

    ``listened`` says whether somebody wants its answer while it grows; ``alone``, whether it was
    part of a crash and so runs beside no other.
    """

    job: Job
    fence: int
    listened: bool = False
    alone: bool = False

    @classmethod
    def from_record(cls, record: Mapping[str, str]) -> Claim:
        """Read a claim from the fields of its job's hash."""
        listened, alone = record.get("listened") == "1", record.get("crashes", "0") != "0"
        return cls(Job.from_record(record), int(record["fence"]), listened, alone)


WAIT: Final = "wait"
"""In place of a claim: ask again once all that is held has ended, to run a job alone."""


@dataclass(frozen=True)
class Outcome:
    """How a worker ended a job."""

    status: Status
    reason: Reason | None = None
    answer: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    usage: Mapping[str, Any] | None = None
    timing: Mapping[str, Any] | None = None
    receipt: Mapping[str, Any] | None = None


def new_id(prefix: str) -> str:
    """Return ``<prefix>_`` and 128 random bits in hex."""
    return f"{prefix}_{secrets.token_hex(16)}"
