"""The live workers of an installation, and whether each takes jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from api.services import services
from jobs.drain import Drain
from jobs.signals import WorkerSignals


@dataclass(frozen=True)
class Member:
    """A worker of a model, and how it is being drained, if it is."""

    model: str
    worker: WorkerSignals
    drain: Drain | None

    @property
    def state(self) -> Literal["ready", "draining", "drained"]:
        """Whether it takes jobs; `drained`: it takes none and holds none."""
        if self.drain is None:
            return "ready"
        return "draining" if self.worker.slots_used else "drained"


def fleet() -> list[Member]:
    """Return the live workers of all models; raises StoreUnavailable."""
    parts = services()
    found = [
        (model, worker)
        for model, signals in parts.signals.read().models.items()
        for worker in signals.workers
    ]
    drains = parts.operations.drains.of([worker.name for _, worker in found])
    return [Member(model, worker, drains.get(worker.name)) for model, worker in found]
