"""The real worker, whose answers wait at a test's gate: `celery -A tests.gated worker`."""

from __future__ import annotations

import os
import time
from pathlib import Path

import worker
from tests.gate import GATE, SPEED, Gate
from worker.engine import engine
from worker.engine.batch.batch import Batch
from worker.engine.batch.running import Running
from worker.engine.batch.sampling import Sampling

SHORT = 32
"""Tokens that an answer may have at any speed: those of the bundled questions have no more."""
LOOK_S = 0.005
app = worker.celery
_gate = Gate(Path(os.environ[GATE]))


class GatedBatch(Batch):
    """Advances nobody beyond the gate, and everybody at the speed that is wanted."""

    def add(
        self, id_: str, ids: list[int], max_new_tokens: int, eos: frozenset[int], draw: Sampling
    ) -> Running:
        """Let a request join; at a higher speed its answer takes fewer steps."""
        fewer = max(int(max_new_tokens / SPEED), min(max_new_tokens, SHORT))
        return super().add(id_, ids, min(max_new_tokens, fewer), eos, draw)

    def generating(self) -> list[Running]:
        """Leave those out of a step who have as many tokens as they may."""
        tokens = _gate.tokens
        return [running for running in super().generating() if running.asked < tokens]

    def step(self) -> None:
        """Advance those who may, if any may; the loop around it goes on in any case."""
        tokens = _gate.tokens
        if all(len(running.tokens) >= tokens for running in self._running.values()):
            time.sleep(LOOK_S)
            return
        began = time.monotonic()
        super().step()
        time.sleep(max(0.0, 1 / SPEED - 1) * (time.monotonic() - began))


# The engine is loaded when the worker starts, which is later.
engine.Batch = GatedBatch  # type: ignore[attr-defined]
