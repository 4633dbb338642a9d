"""Plain `generate`: what every way but this system answers with, one question or a batch."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import LlavaNextForConditionalGeneration, LlavaNextProcessor

from bench.workload import Question


class Generating:
    """A model and its processor, answering with `generate`, greedily, from a key-value cache."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model = model
        self._processor = processor

    @classmethod
    def load(cls, model: Path, device: str = "cpu") -> Generating:
        """Load a checkpoint from a folder."""
        weights = LlavaNextForConditionalGeneration.from_pretrained(model)
        return cls(weights.to(device).eval(), LlavaNextProcessor.from_pretrained(model))

    def answer(self, questions: Sequence[Question]) -> list[str]:
        """Answer a batch; it runs as long as its longest answer, and the others are cut."""
        return [self._text(ids) for ids in self.tokens(questions)]

    @torch.inference_mode()
    def tokens(self, questions: Sequence[Question]) -> list[list[int]]:
        """Return the tokens of each answer of a batch."""
        inputs = self.inputs(questions)
        longest = max(question.max_new_tokens for question in questions)
        output = self.model.generate(**inputs, max_new_tokens=longest, do_sample=False)
        fresh = output[:, inputs["input_ids"].shape[1] :].tolist()
        return [
            ids[: question.max_new_tokens] for ids, question in zip(fresh, questions, strict=True)
        ]

    def inputs(self, questions: Sequence[Question]) -> Any:
        """Return what the model reads of a batch of questions, on its device."""
        return self._processor(
            images=[Image.open(BytesIO(q.picture)).convert("RGB") for q in questions],
            text=[self._prompt(q.text) for q in questions],
            padding=True,
            add_special_tokens=False,
            return_tensors="pt",
        ).to(self.model.device, self.model.dtype)

    def _prompt(self, text: str) -> str:
        content = [{"type": "image"}, {"type": "text", "text": text}]
        messages = [{"role": "user", "content": content}]
        return str(self._processor.apply_chat_template(messages, add_generation_prompt=True))

    def _text(self, ids: list[int]) -> str:
        return str(self._processor.decode(ids, skip_special_tokens=True)).strip()
