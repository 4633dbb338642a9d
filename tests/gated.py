"""The real worker, whose answers wait at a test's gate: `celery -A tests.gated worker`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import worker
from tests.gate import GATE, SPEED, Gate
from worker.engine import engine
from worker.engine.batch import batch
from worker.engine.batch.batch import Batch, Running
from worker.engine.batch.sampling import Sampling
from worker.engine.batch.scheduling import PhaseScheduler

SHORT = 32
"""Tokens that an answer may have at any speed: those of the bundled questions have no more."""
LOOK_S = 0.005
app = worker.celery
_gate = Gate(Path(os.environ[GATE]))


class GatedScheduler(PhaseScheduler):
    """Leaves those out of a step who have as many tokens as they may."""

    tokens: float

    def schedule_batch(
        self, token_budget: int, cache_budget: int
    ) -> tuple[list[Any] | None, bool, int, int]:
        """Choose requests for the next step."""
        everybody = self.active_requests.items()
        held = {id_: state for id_, state in everybody if is_held(state, self.tokens)}
        for id_ in held:
            del self.active_requests[id_]
        try:
            return super().schedule_batch(token_budget, cache_budget)
        finally:
            self.active_requests.update(held)


class GatedBatch(Batch):
    """Advances nobody beyond the gate, and everybody at the speed that is wanted."""

    def add(
        self, id_: str, ids: list[int], max_new_tokens: int, eos: frozenset[int], draw: Sampling
    ) -> Running:
        """Let a request join; at a higher speed its answer takes fewer steps."""
        fewer = max(int(max_new_tokens / SPEED), min(max_new_tokens, SHORT))
        return super().add(id_, ids, min(max_new_tokens, fewer), eos, draw)

    def step(self) -> None:
        """Advance those who may, if any may; the loop around it goes on in any case."""
        tokens = _gate.tokens
        if all(is_held(member.state, tokens) for member in self._running.values()):
            time.sleep(LOOK_S)
            return
        self._processor.scheduler.tokens = tokens
        began = time.monotonic()
        super().step()
        time.sleep(max(0.0, 1 / SPEED - 1) * (time.monotonic() - began))


def is_held(state: Any, tokens: float) -> bool:
    """Whether a request has as many tokens as it may."""
    return len(state.generated_tokens) >= tokens


# The engine is loaded when the worker starts, which is later.
batch.PhaseScheduler = GatedScheduler  # type: ignore[attr-defined]
engine.Batch = GatedBatch  # type: ignore[attr-defined]
