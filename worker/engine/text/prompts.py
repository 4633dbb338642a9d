"""From a conversation to the token ids of a prompt, by the checkpoint's own chat template."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from worker.engine.errors import InvalidRequest, ModelError
from worker.engine.requests import Picture, Turn
from worker.engine.text.written import Written


@dataclass(frozen=True)
class Prompt:
    """Token ids in which each picture is still one image token, and the places of those tokens."""

    ids: tuple[int, ...]
    images: tuple[int, ...]

    def length(self, image_tokens: Sequence[int]) -> int:
        """The prompt's length once each picture has its number of image tokens."""
        return len(self.ids) - len(self.images) + sum(image_tokens)

    def expand(self, runs: Sequence[Sequence[int]]) -> list[int]:
        """The ids with each picture's single token replaced by that picture's ids."""
        ids: list[int] = []
        done = 0
        for place, run in zip(self.images, runs, strict=True):
            ids += self.ids[done:place]
            ids += run
            done = place + 1
        return ids + list(self.ids[done:])


class Prompts:
    """Builds prompts as the checkpoint's processor would, safe against what users type.

    Text that spells a control token (`<image>`, `</s>`) becomes ordinary text tokens (`Written`).
    """

    def __init__(self, processor: Any, image_token_id: int, vocabulary: int) -> None:
        self._tokenizer = processor.tokenizer
        self._template = processor.chat_template
        self._written = Written(processor.tokenizer, processor.chat_template)
        self._image_token_id = image_token_id
        self._vocabulary = vocabulary
        # Encoding switches a flag of the shared tokenizer: two threads at once would read each
        # other's text with the wrong flag.
        self._lock = threading.Lock()
        self._before, self._after = self._special_tokens(processor)

    def build(self, conversation: Sequence[Turn]) -> Prompt:
        """Render and encode a conversation that ends with the user's turn.

        Raises InvalidRequest if the template refuses the conversation.
        """
        messages = [
            {"role": turn.role, "content": [self._content(part) for part in turn.parts]}
            for turn in conversation
        ]
        with self._lock:
            ids = self._encode(messages)
        ids = [*self._before, *ids, *self._after]
        images = tuple(i for i, token in enumerate(ids) if token == self._image_token_id)
        pictures = sum(len(turn.pictures) for turn in conversation)
        if len(images) != pictures:
            raise InvalidRequest(
                f"The model's chat template shows {len(images)} of the {pictures} pictures; "
                "put pictures into user turns only."
            )
        if max(ids) >= self._vocabulary:
            raise InvalidRequest("The text contains a token that the model does not know.")
        return Prompt(tuple(ids), images)

    def _encode(self, messages: list[dict[str, Any]]) -> list[int]:
        try:
            rendered = self._tokenizer.apply_chat_template(
                messages, chat_template=self._template, add_generation_prompt=True, tokenize=False
            )
        except (TemplateError, ValueError) as error:
            # Templates raise to refuse a role order.
            raise InvalidRequest(
                "The model's chat template refuses this conversation; alternate user and "
                "assistant turns, starting with the user."
            ) from error
        return self._written.encode(rendered)

    def _special_tokens(self, processor: Any) -> tuple[list[int], list[int]]:
        """The tokens that the tokenizer, not the template, puts before and after a prompt."""
        question = [{"role": "user", "content": [{"type": "text", "text": "?"}]}]
        rendered = processor.apply_chat_template(
            question, add_generation_prompt=True, tokenize=False
        )
        tokenizer = self._tokenizer
        if tokenizer.bos_token is not None and rendered.startswith(tokenizer.bos_token):
            return [], []
        bare = tokenizer("?", add_special_tokens=False)["input_ids"]
        whole = tokenizer("?")["input_ids"]
        for start in range(len(whole) - len(bare) + 1):
            if whole[start : start + len(bare)] == bare:
                return whole[:start], whole[start + len(bare) :]
        raise ModelError(
            "The tokenizer changes text when it adds its special tokens, which this engine cannot "
            "reproduce; use a checkpoint with its original tokenizer files."
        )

    def _content(self, part: str | Picture) -> dict[str, str]:
        if isinstance(part, Picture):
            return {"type": "image"}
        return {"type": "text", "text": self._written.mark(part)}
