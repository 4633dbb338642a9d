"""What a stream has still to say of a job, and the ids by which it is taken up where it broke off.

An id says how far a caller has come: the state it was told of last, and how much of the answer it
has, as a length and a digest. So a stream goes on behind any of them over whatever happened
meanwhile: another attempt, another worker, an answer that is complete, a copy of another job's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from api.jobs.response import represent
from jobs.errors import InvalidRequest
from jobs.job import Job

DONE = "done"
"""The id of the last event of a stream: nothing comes behind it."""
_ID = re.compile(r"([a-z]{1,12}-[0-9]{1,9}):([0-9]{1,9}):([0-9a-f]{16})")


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Place:
    """How far a caller has come; ``offset`` in characters of the answer."""

    state: str = "new-0"
    offset: int = 0
    digest: str = _digest("")

    def __str__(self) -> str:
        return f"{self.state}:{self.offset}:{self.digest}"

    @classmethod
    def read(cls, text: str) -> Place:
        """Return the place that an id names; raises InvalidRequest."""
        found = _ID.fullmatch(text)
        if not found:
            raise InvalidRequest(
                "no event of a stream has this id; leave it out to begin at the start",
                code="invalid_field",
                param="Last-Event-ID",
            )
        return cls(found[1], int(found[2]), found[3])

    def behind(self, text: str) -> Place:
        """Return the place of a caller that has all of a text."""
        return replace(self, offset=len(text), digest=_digest(text))

    def is_within(self, text: str) -> bool:
        """Whether what a caller has is the beginning of a text."""
        return _digest(text[: self.offset]) == self.digest


@dataclass(frozen=True)
class Event:
    """One event of a stream."""

    kind: Literal["status", "token", "done"]
    id: str
    data: dict[str, Any]


class Telling:
    """Tells one caller of one job, from a place on."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def news(self, job: Job, position: int | None, said: str) -> Iterator[Event]:
        """Yield what the caller has not been told.

        ``position`` is the job's place in the queue, if it waits; ``said`` is what the current
        attempt has said so far, of which nothing is needed once the job has ended.
        """
        if job.status.is_terminal:
            if job.answer is not None:
                yield from self._text(job, None, str(job.answer["text"]))
            yield Event("done", DONE, represent(job))
            return
        number = len(job.attempts) if position is None else position
        state = f"{job.status}-{number}"
        if state != self._place.state:
            self._place = replace(self._place, state=state)
            yield self._status(job, position, restart=False)
        yield from self._text(job, position, said)

    def _text(self, job: Job, position: int | None, text: str) -> Iterator[Event]:
        # A later attempt says the same again, most likely: its caller need not know.
        if len(text) < self._place.offset and not job.status.is_terminal:
            return
        if not self._place.is_within(text):
            self._place = self._place.behind("")
            yield self._status(job, position, restart=True)
        piece = text[self._place.offset :]
        if piece:
            self._place = self._place.behind(text)
            yield Event("token", str(self._place), {"text": piece})

    def _status(self, job: Job, position: int | None, *, restart: bool) -> Event:
        data = {
            "id": job.id,
            "status": job.status,
            "attempt": len(job.attempts),
            "queue": None if position is None else {"position": position},
            "restart": restart,
        }
        return Event("status", str(self._place), data)
