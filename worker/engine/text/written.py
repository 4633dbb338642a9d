"""What users write, kept apart from the control tokens that a chat template writes."""

import re
from typing import Any

from worker.engine.errors import InvalidRequest

OPEN, CLOSE = "\ue0f8", "\ue0f9"
"""Characters for private use that stand around what a user wrote and looks like a control token."""


class Written:
    """Encodes rendered conversations in which what users wrote is marked.

    Transformers has the same from 5.23 on in `apply_chat_template(sanitize_control_tokens=True)`,
    to which the tests compare; vLLM pins an older one. Not thread-safe: encoding switches flags of
    the tokenizer.
    """

    def __init__(self, tokenizer: Any, template: str) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder.values()
        self._any = _one_of(token.content for token in added)
        self._control = _one_of(
            token.content
            for token in added
            if token.special or (token.content in template and not token.content.isspace())
        )
        self._marked = re.compile(f"{OPEN}({self._any.pattern}){CLOSE}|[{OPEN}{CLOSE}]")
        self._newline = self._as_said("\n")

    def mark(self, text: str) -> str:
        """The text with a mark around each control token that it spells."""
        # A mark that a user typed could forge one.
        plain = text.replace(OPEN, "").replace(CLOSE, "")
        return self._control.sub(f"{OPEN}\\g<0>{CLOSE}", plain)

    def encode(self, rendered: str) -> list[int]:
        """The ids of a conversation: control tokens where it is not marked, plain text where it is.

        A template may cut a text between marks: a lone one is dropped. Raises InvalidRequest where
        the tokenizer makes a control token of plain text.
        """
        first, *rest = self._marked.split(rendered)
        ids = self._as_said(first)
        for number, piece in enumerate(rest):
            if piece:
                ids += self._inside(piece, marked=number % 2 == 0)
        return ids

    def _inside(self, piece: str, *, marked: bool) -> list[int]:
        """The ids of a piece that is no beginning, to which SentencePiece would add a space."""
        read = self._as_text if marked else self._as_said
        ids, before = read(f"\n{piece}"), len(self._newline)
        ids = ids[before:] if ids[:before] == self._newline else read(piece)
        if marked and self._tokenizer.convert_tokens_to_ids(piece) in ids:
            raise InvalidRequest(
                f"This model's tokenizer cannot read {piece} as text; leave it out."
            )
        return ids

    def _as_said(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def _as_text(self, text: str) -> list[int]:
        """The ids of a text by the tokenizer's own steps, without a look at added tokens."""
        steps = self._tokenizer.backend_tokenizer
        if steps.normalizer is not None:
            text = steps.normalizer.normalize_str(text)
        words = [text]
        if steps.pre_tokenizer is not None:
            words = [word for word, _ in steps.pre_tokenizer.pre_tokenize_str(text)]
        return [token.id for word in words for token in steps.model.tokenize(word)]


def _one_of(words: Any) -> re.Pattern[str]:
    """A pattern of any of the words, the longest first; of nothing where there is none."""
    longest = sorted(words, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest)) or "(?!)")
