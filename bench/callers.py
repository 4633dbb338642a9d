"""Callers of a server: some at a time, each waiting for its answer, and questions in due time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from bench.workload import Question

Reply = TypeVar("Reply")


@dataclass(frozen=True)
class Calls(Generic[Reply]):
    """What callers got, in order of the questions: seconds in all, seconds each, the replies."""

    seconds: float
    latencies: list[float]
    replies: list[Reply]


class Clock:
    """The instants of one run, in seconds from its start."""

    def __init__(self) -> None:
        self._started = time.perf_counter()

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._started

    def await_arrival(self, question: Question) -> float:
        """Sleep until a question arrives; returns the instant from which its latency counts.

        A question that could not be sent when it arrived has waited since then. One that arrives
        at once has waited for nobody, it is just next.
        """
        wait = question.arrives - self.now
        if wait > 0:
            time.sleep(wait)
        return question.arrives or self.now


def call(
    questions: Sequence[Question],
    in_flight: int,
    answer: Callable[[Question], Reply],
    done: Callable[[], object],
) -> Calls[Reply]:
    """Have `in_flight` callers ask the questions in order."""
    clock = Clock()

    def ask(question: Question) -> tuple[float, Reply]:
        began = clock.await_arrival(question)
        reply = answer(question)
        done()
        return clock.now - began, reply

    with ThreadPoolExecutor(in_flight) as callers:
        found = list(callers.map(ask, questions))
    return Calls(clock.now, [f[0] for f in found], [f[1] for f in found])
