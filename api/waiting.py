"""Holding an answer until a job has ended, for callers that send ``Prefer: wait=N`` (RFC 7240)."""

from __future__ import annotations

import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable

from jobs.job import Job, Status

LONGEST_WAIT_S = 60
_RECHECK_S = 2.0


def preferred_wait(header: str | None) -> float:
    """Return the seconds that a ``Prefer`` header asks to wait, at most 60, or 0."""
    found = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})\"?\s*(?:$|[,;])", header or "", re.I)
    return min(float(found[1]), LONGEST_WAIT_S) if found else 0.0


class Waiting:
    """Requests that wait for jobs to end; ``heard`` wakes them, and a slow poll where it fails."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: dict[str, set[threading.Event]] = defaultdict(set)

    def heard(self, job_id: str, word: str) -> None:
        """Wake whoever waits for a job that has ended."""
        if word in {Status.SUCCEEDED, Status.FAILED, Status.CANCELED}:
            with self._lock:
                for event in self._events.get(job_id, ()):
                    event.set()

    def until_ended(self, fetch: Callable[[], Job], seconds: float) -> Job:
        """Return the job once it has ended, or as it stands after ``seconds``."""
        job = fetch()
        if seconds <= 0 or job.status.is_terminal:
            return job
        event = threading.Event()
        with self._lock:
            self._events[job.id].add(event)
        try:
            give_up = time.monotonic() + seconds
            while not (job := fetch()).status.is_terminal:
                left = give_up - time.monotonic()
                if left <= 0:
                    break
                event.wait(min(left, _RECHECK_S))
            return job
        finally:
            with self._lock:
                self._events[job.id].discard(event)
                if not self._events[job.id]:
                    del self._events[job.id]
