"""What the engine is asked for a question of a measurement."""

from __future__ import annotations

from bench.workload import Question
from worker.engine import Picture, Request, Turn


def request_of(question: Question, scope: str = "bench", ignore_eos: bool = False) -> Request:
    """Return what the engine is asked for a question."""
    turn = Turn("user", (Picture(question.picture), question.text))
    return Request(
        (turn,), scope=scope, max_new_tokens=question.max_new_tokens, ignore_eos=ignore_eos
    )
