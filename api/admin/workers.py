"""The live workers of an installation, and whether each takes jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from api.services import services
from jobs.drain import Drain
from jobs.signals import WorkerSignals


@dataclass(frozen=True)
class Member:
    """A worker of a model, and how it is being drained, if it is.

    ``is_silent``: it missed two heartbeats in a row, so that it has probably died; its jobs go to
    others when its lease ends.
    """

    model: str
    worker: WorkerSignals
    drain: Drain | None
    is_silent: bool

    @property
    def state(self) -> Literal["ready", "draining", "drained"]:
        """Whether it takes jobs; `drained`: it takes none and holds none."""
        if self.drain is None:
            return "ready"
        return "draining" if self.worker.slots_used else "drained"

    @property
    def takes_jobs(self) -> bool:
        """Whether a job that is queued now can be given to it."""
        return self.drain is None and not self.is_silent


def fleet() -> list[Member]:
    """Return the live workers of all models; raises StoreUnavailable."""
    parts = services()
    found = [
        (model, worker)
        for model, signals in parts.signals.read().models.items()
        for worker in signals.workers
    ]
    drains = parts.operations.drains.of([worker.name for _, worker in found])
    quiet_s = 2 * parts.settings.renew_ms / 1000
    return [
        Member(model, worker, drains.get(worker.name), worker.heartbeat_age_s > quiet_s)
        for model, worker in found
    ]
