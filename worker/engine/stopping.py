"""Stop strings: an answer ends before the first of them, and no part of one is ever given out."""

from collections.abc import Sequence
from typing import Any

from worker.engine.detokenizing import TextStream


def find(text: str, stop: Sequence[str]) -> int | None:
    """Where the first of the stop strings begins in a text; None where there is none."""
    places = [place for word in stop if (place := text.find(word)) >= 0]
    return min(places, default=None)


def before(text: str, stop: Sequence[str]) -> str:
    """The text up to the first of the stop strings."""
    return text[: find(text, stop)]


def certain(text: str, stop: Sequence[str]) -> str:
    """The text that stays, whatever follows: without an end that a stop string may begin with."""
    text = before(text, stop)
    held = max((_overlap(text, word) for word in stop), default=0)
    return text[: len(text) - held]


def _overlap(text: str, word: str) -> int:
    """The length of the longest end of a text that a word begins with."""
    return next(n for n in range(min(len(word), len(text)), -1, -1) if text.endswith(word[:n]))


class StoppingStream(TextStream):
    """Pieces of text that are never taken back, though the answer may end before a stop string."""

    def __init__(self, tokenizer: Any, stop: Sequence[str]) -> None:
        super().__init__(tokenizer)
        self._stop = stop
        self._text = ""
        self._said = 0  # characters

    def advance(self, ids: Sequence[int]) -> str:
        """The text that has become certain with the tokens so far; may be empty."""
        self._text += super().advance(ids)
        return self.finish(certain(self._text, self._stop))

    def finish(self, text: str) -> str:
        """The rest of the answer's whole text, which ends before the first stop string."""
        piece = text[self._said :]
        self._said += len(piece)
        return piece
