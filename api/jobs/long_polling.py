"""Holding an answer until a job has ended, for callers that send ``Prefer: wait=N`` (RFC 7240)."""

from __future__ import annotations

import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from api.http.disconnect import is_over
from api.http.held_calls import Connections
from jobs.errors import ConnectionsFull, TooManyConnections
from jobs.feed import Events
from jobs.job import Job, Status

LONGEST_WAIT_S = 60
RECHECK_S = 2.0
"""How often it is looked whether what nothing was heard of has come all the same, and whether the
caller, and this process, are still there."""
T = TypeVar("T")


def preferred_wait(header: str | None) -> float:
    """Return the seconds that a ``Prefer`` header asks to wait, at most 60, or 0."""
    found = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?([0-9]{1,9})\"?\s*(?:$|[,;])", header or "", re.I)
    return min(float(found[1]), LONGEST_WAIT_S) if found else 0.0


class Waiting:
    """Requests that wait for a change; ``heard`` wakes them, and a slow poll where it fails."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._lock = threading.Lock()
        self._events: dict[str, set[threading.Event]] = defaultdict(set)

    @contextmanager
    def granted(self, tenant: str, header: str | None) -> Iterator[float]:
        """Yield the seconds that a call of a tenant's is held open, by its ``Prefer`` header.

        0 where too many calls are held open already: it is a preference, and a caller that is
        answered at once asks again after the ``Retry-After`` that it is told.
        """
        seconds = preferred_wait(header)
        with ExitStack() as held:
            if seconds:
                try:
                    held.callback(self._connections.hold(tenant))
                except (TooManyConnections, ConnectionsFull):
                    seconds = 0.0
            yield seconds

    def heard(self, job_id: str, word: str, tenant: str) -> None:
        """Wake whoever waits for a job that has ended, or for any change of a tenant's."""
        ended = word in {Status.SUCCEEDED, Status.FAILED, Status.CANCELED}
        with self._lock:
            for name in (job_id, _all_of(tenant)) if ended else (_all_of(tenant),):
                for event in self._events.get(name, ()):
                    event.set()

    def until_ended(self, job_id: str, fetch: Callable[[], Job], seconds: float) -> Job:
        """Return a job once it has ended, or as it stands after ``seconds``."""
        return self._until(job_id, fetch, lambda job: job.status.is_terminal, seconds)

    def until_told(self, tenant: str, fetch: Callable[[], Events], seconds: float) -> Events:
        """Return a tenant's events once there are any, or none after ``seconds``."""
        return self._until(_all_of(tenant), fetch, lambda told: bool(told.events), seconds)

    def _until(
        self,
        name: str,
        fetch: Callable[[], T],
        enough: Callable[[T], bool],
        seconds: float,
    ) -> T:
        if seconds <= 0:
            return fetch()
        # Before the first look, so that nothing happens unheard between the two.
        event = threading.Event()
        with self._lock:
            self._events[name].add(event)
        give_up, over = time.monotonic() + seconds, is_over()
        try:
            while not enough(found := fetch()) and not over():
                left = give_up - time.monotonic()
                if left <= 0:
                    break
                event.wait(min(left, RECHECK_S))
                event.clear()
            return found
        finally:
            with self._lock:
                self._events[name].discard(event)
                if not self._events[name]:
                    del self._events[name]


def _all_of(tenant: str) -> str:
    return f"all of {tenant}"
