"""Draining a worker: it claims nothing until it is told to go on."""

from __future__ import annotations

from enum import StrEnum

import redis

from jobs.errors import NotFound
from jobs.scripts import PREFIX, Scripts
from jobs.store import told_plainly


class Drain(StrEnum):
    """What a worker that is being drained does with the jobs that it holds."""

    FINISH = "finish"
    """It answers them."""
    HAND_BACK = "hand_back"
    """It stops them; others run them from the start, and no try is charged."""


class Drains:
    """Which workers are being drained; every method raises StoreUnavailable.

    A claim by such a worker finds nothing once ``drain`` has returned. The worker itself learns it
    when it renews its leases, within seconds.
    """

    def __init__(self, client: redis.Redis, scripts: Scripts) -> None:
        self._client = client
        self._run = scripts.run

    def drain(self, worker: str, how: Drain = Drain.FINISH) -> None:
        """Have a worker claim nothing; raises NotFound where no live one has this name."""
        self._tell(worker, how)

    def resume(self, worker: str) -> None:
        """Have a worker claim again; raises NotFound where no live one has this name."""
        self._tell(worker, "resume")

    def of(self, workers: list[str]) -> dict[str, Drain]:
        """Return which of the workers are being drained, and how."""
        if not workers:
            return {}
        with told_plainly():
            found = self._client.mget([f"{PREFIX}drain:{name}" for name in workers])
        return {name: Drain(how.decode()) for name, how in zip(workers, found, strict=True) if how}

    def _tell(self, worker: str, word: str) -> None:
        if not self._run("drain", worker, word):
            raise NotFound("no live worker has this name", code="worker_not_found")
