"""Plain `generate`: what every way but this system answers with, one question or a batch."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image
from transformers import LlavaNextForConditionalGeneration, LlavaNextProcessor

from bench.workload import Question


class Generating:
    """A loaded checkpoint that answers with `generate`, greedily, from a key-value cache."""

    def __init__(self, model: Path, device: str = "cpu") -> None:
        self._processor = LlavaNextProcessor.from_pretrained(model)
        self._model = LlavaNextForConditionalGeneration.from_pretrained(model).to(device).eval()

    @torch.inference_mode()
    def answer(self, questions: Sequence[Question]) -> list[str]:
        """Answer a batch; it runs as long as its longest answer, and the others are cut."""
        inputs = self._processor(
            images=[Image.open(BytesIO(q.picture)).convert("RGB") for q in questions],
            text=[self._prompt(q.text) for q in questions],
            padding=True,
            add_special_tokens=False,
            return_tensors="pt",
        ).to(self._model.device)
        longest = max(question.max_new_tokens for question in questions)
        output = self._model.generate(**inputs, max_new_tokens=longest, do_sample=False)
        fresh = output[:, inputs["input_ids"].shape[1] :].tolist()
        return [
            self._text(ids[: question.max_new_tokens])
            for ids, question in zip(fresh, questions, strict=True)
        ]

    def _prompt(self, text: str) -> str:
        content = [{"type": "image"}, {"type": "text", "text": text}]
        messages = [{"role": "user", "content": content}]
        return str(self._processor.apply_chat_template(messages, add_generation_prompt=True))

    def _text(self, ids: list[int]) -> str:
        return str(self._processor.decode(ids, skip_special_tokens=True)).strip()
