"""A job in plain words: where it stands, what is next, and what happened when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from api.admin.workers import fleet
from api.console.formatting import span
from api.console.i18n import chosen
from api.services import services
from jobs.deliveries import Delivery
from jobs.job import Attempt, Job, Reason, Status

_OUTCOMES = frozenset({"handed_back", "retried", "lease_expired", "engine_stalled"})
_FAILURES = frozenset({Reason.DEADLINE, Reason.EXPIRED, Reason.POISON, Reason.REFUSED})


@dataclass(frozen=True)
class Story:
    """How a job stands: ``kind`` names the texts that tell it, ``values`` fill them."""

    kind: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Event:
    """Something that happened to a job; ``at`` in milliseconds since the epoch."""

    at: int
    kind: str
    values: Mapping[str, Any] = field(default_factory=dict)
    tone: str = ""


@dataclass(frozen=True)
class Part:
    """A part of the time that a job took: its length in ms, and where it lies, in percent."""

    kind: str
    length: float
    start: float
    share: float


@dataclass(frozen=True)
class Turn:
    """A turn of the conversation: who speaks, what, and the places of its pictures."""

    role: str
    text: str
    pictures: tuple[int, ...]


def story(job: Job) -> Story:
    """Return how a job stands, its place in the queue included; raises StoreUnavailable."""
    if job.status is Status.QUEUED:
        return _waiting(job)
    if job.status is Status.PROCESSING:
        return Story("stopping" if job.cancel_requested_at else "processing")
    if job.status is Status.FAILED:
        return Story(f"failed_{job.reason}" if job.reason in _FAILURES else "failed")
    if job.reason is Reason.SUPERSEDED:
        return Story("superseded")
    return Story(str(job.status))


def _waiting(job: Job) -> Story:
    parts = services()
    if job.deduplicated_from:
        return Story("shared")
    if not parts.ledger.workers(job.model):
        return Story("unserved", {"model": job.model})
    if not any(member.takes_jobs for member in fleet() if member.model == job.model):
        return Story("unready", {"model": job.model})
    pace = parts.paces.of(job.model)
    priority = chosen()(f"priority.{job.priority}")
    position = parts.ledger.position(job)
    place = {"position": position, "priority": priority}
    if pace is None:
        return Story("queued_unknown", place)
    soon = pace.forecast(position, job.priority)
    kind = "queued" if soon.start >= 1000 else "queued_next"
    return Story(kind, {**place, "start": span(soon.start), "finish": span(soon.finish_p90)})


def turns(job: Job) -> list[Turn]:
    """Return the conversation that a job answers, turn by turn."""
    told: list[Turn] = []
    count = 0
    for turn in job.conversation.turns:
        texts = [part for part in turn.parts if isinstance(part, str)]
        shown = len(turn.parts) - len(texts)
        told.append(Turn(turn.role, "\n".join(texts), tuple(range(count, count + shown))))
        count += shown
    return told


def events(job: Job, deliveries: tuple[Delivery, ...]) -> list[Event]:
    """Return what happened to a job, oldest first, and what is to come."""
    told = [Event(job.created_at, "received")]
    if job.deduplicated_from:
        told.append(Event(job.created_at, "shared"))
    for attempt in job.attempts:
        told += _attempt(attempt)
    if job.cancel_requested_at:
        told.append(Event(job.cancel_requested_at, "cancel_requested"))
    if job.finished_at:
        tone = {"succeeded": "good", "failed": "bad"}.get(job.status, "")
        told.append(Event(job.finished_at, str(job.status), tone=tone))
    for delivery in deliveries:
        told += _delivery(delivery)
    told.sort(key=lambda event: event.at)
    if job.expires_at:
        told.append(Event(job.expires_at, "expires"))
    return told


def _attempt(attempt: Attempt) -> list[Event]:
    told = [Event(attempt.started_at, "started", {"worker": attempt.worker})]
    if attempt.ended_at and attempt.outcome in _OUTCOMES:
        told.append(Event(attempt.ended_at, str(attempt.outcome), tone="warn"))
    return told


def _delivery(delivery: Delivery) -> list[Event]:
    host = delivery.webhook.host
    told = []
    for attempt in delivery.attempts:
        well = attempt.status is not None and 200 <= attempt.status < 300
        outcome = attempt.status if attempt.status is not None else attempt.error
        values = {"host": host, "outcome": outcome}
        kind = "webhook_delivered" if well else "webhook_failed"
        told.append(Event(attempt.at, kind, values, "good" if well else "bad"))
    if delivery.next_at and delivery.status == "pending":
        told.append(Event(delivery.next_at, "webhook_next", {"host": host}))
    return told


def parts_of_time(job: Job) -> list[Part]:
    """Return what the time of an answered job went into; nothing where that is not known."""
    timing = job.timing or {}
    lengths = {
        "waiting": float(timing.get("queue_ms", 0)),
        "preparing": float(timing.get("preprocess_ms", 0)) + float(timing.get("vision_ms", 0)),
        "generating": float(timing.get("generate_ms", 0)),
    }
    total = sum(lengths.values())
    if not total:
        return []
    found, start = [], 0.0
    for kind, length in lengths.items():
        share = 100 * length / total
        found.append(Part(kind, length, start, share))
        start += share
    return found
