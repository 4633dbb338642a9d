"""Single steps of an engine's batch: the one place that knows how an engine is made inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

from worker.engine import Engine
from worker.engine.batch.batch import Batch
from worker.engine.batch.sampling import Sampling

_FIRST, _LAST = 300, 900
"""Tokens of prompts: words of any vocabulary here, and none that stands for a picture."""


def batch_of(engine: Engine) -> Batch:
    """The batch of an engine that has nothing to do: its thread sleeps, and another may step it."""
    return engine._batch


def graphs_of(engine: Engine) -> int | None:
    """How many graphs an engine has captured; None where it tells nothing."""
    return getattr(batch_of(engine)._runner, "graphs", None)


def step_tokens(engine: Engine) -> int:
    """The most tokens of prompts that one step reads."""
    return int(batch_of(engine)._limits.step_tokens)


@contextmanager
def requests(batch: Batch, count: int, prompt: int, answer: int, seed: int) -> Iterator[list[Any]]:
    """Requests in a batch with prompts of random tokens, none read yet; they leave at the end."""
    draw = Random(seed)
    added = [
        batch.add(
            f"bench-{seed}-{number}",
            draw.choices(range(_FIRST, _LAST), k=prompt),
            answer,
            frozenset(),
            Sampling(),
        )
        for number in range(count)
    ]
    try:
        yield added
    finally:
        for request in added:
            batch.remove(request)


def read_prompts(batch: Batch, added: Sequence[Any]) -> int:
    """Step until every request has its first token, and return the steps."""
    steps = 0
    while not all(request.tokens for request in added):
        batch.step()
        steps += 1
    return steps
