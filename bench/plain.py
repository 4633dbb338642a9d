"""The plain script: what one writes without a job server, one `generate` after another."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import LlavaNextForConditionalGeneration, LlavaNextProcessor

from bench.measured import Measured
from bench.workload import Question


def run_plain(
    model: Path, questions: Sequence[Question], max_new_tokens: int, done: Callable[[], object]
) -> Measured:
    """Answer the questions one after another; ``done`` is called after each."""
    processor = LlavaNextProcessor.from_pretrained(model)
    network = LlavaNextForConditionalGeneration.from_pretrained(model).eval()
    _answer(processor, network, questions[0], max_new_tokens)  # so that nothing is paid for once
    answers, latencies = [], []
    started = time.perf_counter()
    for question in questions:
        began = time.perf_counter()
        answers.append(_answer(processor, network, question, max_new_tokens))
        latencies.append(time.perf_counter() - began)
        done()
    return Measured("plain script", time.perf_counter() - started, latencies, answers)


@torch.inference_mode()
def _answer(processor: Any, network: Any, question: Question, max_new_tokens: int) -> str:
    content = [{"type": "image"}, {"type": "text", "text": question.text}]
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    picture = Image.open(BytesIO(question.picture)).convert("RGB")
    inputs = processor(images=picture, text=prompt, return_tensors="pt", add_special_tokens=False)
    output = network.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
    fresh = output[0, inputs["input_ids"].shape[1] :]
    return str(processor.decode(fresh, skip_special_tokens=True)).strip()
