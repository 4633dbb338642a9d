"""Static batches: what has arrived is answered together, and each waits for the slowest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench.callers import Clock
from bench.generating import Generating
from bench.measured import Done, Measured, Run
from bench.processes import cpu_seconds
from bench.workload import Question

NAME = "static batches"


@contextmanager
def static(model: Path) -> Iterator[Run]:
    """Answer in batches of as many as are in flight, by a loaded model."""
    generating = Generating.load(model)

    def run(questions: Sequence[Question], in_flight: int, done: Done) -> Measured:
        return in_batches(NAME, generating, questions, in_flight, done)

    yield run


def in_batches(
    name: str, generating: Generating, questions: Sequence[Question], size: int, done: Done
) -> Measured:
    """Answer in order of arrival, in batches of what has arrived and at most `size`."""
    answers: list[str] = []
    latencies: list[float] = []
    this = psutil.Process()
    before = cpu_seconds(this)
    clock = Clock()
    while len(answers) < len(questions):
        first = questions[len(answers)]
        began = [clock.await_arrival(first)]
        batch = [first]
        for question in questions[len(answers) + 1 : len(answers) + size]:
            if question.arrives > clock.now:
                break
            batch.append(question)
            began.append(question.arrives or began[0])
        answers += generating.answer(batch)
        latencies += [clock.now - instant for instant in began]
        for _ in batch:
            done()
    cpu = {"script": cpu_seconds(this) - before}
    return Measured(name, clock.now, latencies, answers, cpu=cpu)
