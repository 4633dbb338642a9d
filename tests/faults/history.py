"""What the clients of a run did and were told, in order."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from jobs.feed import Event


@dataclass(frozen=True)
class Post:
    """One POST of an order: the answer's status, None where none was heard, and the job."""

    order: int
    status: int | None
    job: str | None = None

    @property
    def accepted(self) -> bool:
        """Whether the client was told that it is accepted."""
        return self.job is not None

    @property
    def refused(self) -> bool:
        """Whether the client was told that it is not accepted, and nothing will come of it."""
        return self.status is not None and 400 <= self.status < 500 and self.status != 409


@dataclass(frozen=True)
class Sight:
    """A job as a client was shown it."""

    job: str
    status: str
    reason: str | None
    answer: str | None

    @classmethod
    def of(cls, body: dict[str, Any]) -> Sight:
        """Take what counts from a job's body."""
        answer = body["answer"]["text"] if body["answer"] else None
        return cls(body["id"], body["status"], body["status_reason"], answer)


@dataclass
class History:
    """All that was told; safe to add to from any thread."""

    posts: list[Post] = field(default_factory=list)
    sights: list[Sight] = field(default_factory=list)
    heard: dict[str, list[Event]] = field(default_factory=dict)
    """Events that clients read from the feed, by tenant."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def posted(self, post: Post) -> None:
        """Note a POST."""
        with self._lock:
            self.posts.append(post)

    def saw(self, body: dict[str, Any]) -> Sight:
        """Note a job that was shown."""
        sight = Sight.of(body)
        with self._lock:
            self.sights.append(sight)
        return sight

    def hears(self, tenant: str, events: list[Event]) -> None:
        """Note what was read from a tenant's feed."""
        with self._lock:
            self.heard.setdefault(tenant, []).extend(events)
