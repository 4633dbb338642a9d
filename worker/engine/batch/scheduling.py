"""What the next step reads of the prompts."""

from collections.abc import Iterable
from dataclasses import dataclass

from worker.engine.batch.running import Running


@dataclass(frozen=True)
class Chunk:
    """Tokens `start` to `end` of a request's prompt, read in one step."""

    running: Running
    start: int
    end: int

    @property
    def is_last(self) -> bool:
        """Whether the prompt is read after it, so that the answer's first token follows."""
        return self.end == len(self.running.ids)


def next_chunks(requests: Iterable[Running], tokens: int) -> list[Chunk]:
    """What is to be read of the prompts in one step of at most so many tokens, oldest first.

    Requests whose prompts are read generate in the same step: the weights pass through memory once
    for both, and nobody's answer stands still while others are read.
    """
    chunks: list[Chunk] = []
    for running in requests:
        if tokens and running.is_reading:
            end = min(len(running.ids), running.read + tokens)
            chunks.append(Chunk(running, running.read, end))
            tokens -= end - running.read
    return chunks
