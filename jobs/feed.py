"""The event feed: every change of state of a tenant's jobs, in order."""

from __future__ import annotations

from dataclasses import dataclass

import redis

from jobs.job import Reason, Status
from jobs.scripts import PREFIX
from jobs.store import told_plainly

START = "0-0"
"""The cursor before all events."""
MOST_KEPT = 100_000
"""Events of a tenant that are kept at least, as long as their jobs are; see shared.lua."""
CURSOR = r"^[0-9]{1,15}-[0-9]{1,10}$"
"""The form of a cursor, in digits that the store can read: pydantic takes those of any script."""


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
            pipe.xlen(key)
            pipe.get(f"{PREFIX}forgotten:{tenant}")
            found, first, known, length, forgotten = pipe.execute()
        gap = False
        if found and cursor != START and not known:
            # One that is cut for its length loses its oldest events, and they are not noted.
            is_noted = forgotten and length < MOST_KEPT
            newest_gone_or_next = forgotten if is_noted else first[0][0]
            gap = _number(newest_gone_or_next.decode()) > _number(cursor)
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
