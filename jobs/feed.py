"""The event feed: every change of state of a tenant's jobs, in order."""

from __future__ import annotations

import re
from dataclasses import dataclass

import redis

from jobs.job import Reason, Status
from jobs.scripts import PREFIX
from jobs.store import told_plainly

START = "0-0"
"""The cursor before all events."""
_CURSOR = re.compile(r"\d{1,15}-\d{1,10}")


@dataclass(frozen=True)
class Event:
    """One change of a job's state; ``cursor`` is its place in the feed, ``at`` in milliseconds."""

    cursor: str
    job: str
    status: Status
    reason: Reason | None
    at: int


@dataclass(frozen=True)
class Events:
    """Events in order; ``gap`` where some between the cursor and the first are no longer kept."""

    events: tuple[Event, ...]
    gap: bool


def is_cursor(text: str) -> bool:
    """Whether a text has the form of a cursor."""
    return _CURSOR.fullmatch(text) is not None


class Feed:
    """Reads the events that the ledger's scripts write, which go when their job is forgotten."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def after(self, tenant: str, cursor: str, limit: int) -> Events:
        """Return at most ``limit`` of a tenant's events behind ``cursor``.

        Raises StoreUnavailable.
        """
        key = f"{PREFIX}events:{tenant}"
        with told_plainly(), self._client.pipeline(transaction=False) as pipe:
            pipe.xrange(key, min=f"({cursor}", count=limit)
            pipe.xrange(key, count=1)
            pipe.xrange(key, min=cursor, max=cursor)
            found, first, known = pipe.execute()
        seen = cursor != START and not known
        gap = seen and bool(first) and _number(first[0][0].decode()) > _number(cursor)
        return Events(tuple(_event(i.decode(), fields) for i, fields in found), gap)


def _event(cursor: str, fields: dict[bytes, bytes]) -> Event:
    reason = fields[b"reason"].decode()
    return Event(
        cursor,
        fields[b"job"].decode(),
        Status(fields[b"status"].decode()),
        Reason(reason) if reason else None,
        int(fields[b"at"]),
    )


def _number(cursor: str) -> tuple[int, int]:
    time, number = cursor.split("-")
    return int(time), int(number)
