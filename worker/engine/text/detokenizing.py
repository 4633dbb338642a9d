"""Text out of tokens, while they arrive."""

from collections.abc import Sequence
from typing import Any

UNFINISHED = "\ufffd"  # what a tokenizer decodes an incomplete UTF-8 sequence to


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of an answer, without special tokens."""
    text: str = tokenizer.decode(
        list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return text


def cut(text: str, stop: Sequence[str]) -> str:
    """The text before the first of the strings in `stop`; all of it where none occurs."""
    found = [text.find(string) for string in stop]
    return text[: min((place for place in found if place >= 0), default=len(text))]


class TextStream:
    """Turns a growing list of tokens into pieces of text that are never taken back.

    The pieces of one answer join to exactly its text, which ends before the first of the strings in
    `stop`. Decoding restarts a few tokens back, since a token's text depends on its neighbours, and
    holds back characters that are not yet complete. The window is the idea of
    text-generation-inference's `decode_token`.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop = stop
        self._window = 0  # decoding starts at this token ...
        self._read = 0  # ... and text up to this token is certain
        self._text = ""
        self._given = 0  # characters
        self.stopped = False
        """Whether one of the strings in `stop` has come."""

    def advance(self, ids: Sequence[int]) -> str:
        """The text that has become certain with the tokens so far; may be empty."""
        before = decode(self._tokenizer, ids[self._window : self._read])
        now = decode(self._tokenizer, ids[self._window :])
        if len(now) <= len(before) or now.endswith(UNFINISHED):
            return ""
        self._window, self._read = self._read, len(ids)
        self._text += now[len(before) :]
        text = cut(self._text, self._stop)
        self.stopped = len(text) < len(self._text)
        return self._give(text[: len(text) - (0 if self.stopped else self._begun(text))])

    def finish(self, text: str) -> str:
        """The rest of the answer's whole text."""
        return self._give(text)

    def _give(self, text: str) -> str:
        piece = text[self._given :]
        self._given = max(self._given, len(text))
        return piece

    def _begun(self, text: str) -> int:
        """How many characters at the end may yet turn out to begin a string in `stop`."""
        return max(
            (n for string in self._stop for n in range(len(string)) if text.endswith(string[:n])),
            default=0,
        )
