"""The plain script: what one writes without a job server, one `generate` after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.generating import Generating
from bench.measured import Done, Measured, Run
from bench.static import in_batches
from bench.workload import Question

NAME = "plain script"


@contextmanager
def plain(model: Path) -> Iterator[Run]:
    """Answer one question after another, however many could be in flight."""
    generating = Generating.load(model)

    def run(questions: Sequence[Question], in_flight: int, done: Done) -> Measured:
        del in_flight
        return in_batches(NAME, generating, questions, 1, done)

    yield run
