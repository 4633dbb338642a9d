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


class TextStream:
    """Turns a growing list of tokens into pieces of text that are never taken back.

    The pieces of one answer join to exactly its text. Decoding restarts a few tokens back, since a
    token's text depends on its neighbours, and holds back characters that are not yet complete.
    The window is the idea of text-generation-inference's `decode_token`.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._window = 0  # decoding starts at this token ...
        self._read = 0  # ... and text up to this token has been given out
        self._given = 0  # characters

    def advance(self, ids: Sequence[int]) -> str:
        """The text that has become certain with the tokens so far; may be empty."""
        before = decode(self._tokenizer, ids[self._window : self._read])
        now = decode(self._tokenizer, ids[self._window :])
        if len(now) <= len(before) or now.endswith(UNFINISHED):
            return ""
        self._window, self._read = self._read, len(ids)
        piece = now[len(before) :]
        self._given += len(piece)
        return piece

    def finish(self, text: str) -> str:
        """The rest of the answer's whole text."""
        piece = text[self._given :]
        self._given = len(text)
        return piece
