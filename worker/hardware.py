"""What a worker takes on where its settings do not say: chosen from the machine and the model."""

from __future__ import annotations

import os
from typing import Any

import torch
from transformers import AutoConfig, LlavaNextForConditionalGeneration

from jobs.settings import Settings
from worker.engine import SpreadEngine
from worker.engine.limits import token_bytes
from worker.engine.model.description import tiling_of
from worker.engine.model.loading import device_of

ON_A_CPU = 32
FEWEST, MOST = 4, 256
SHARE_FOR_CACHE = 0.8
"""Of the memory that the weights leave free; the rest is for what a step computes."""
WORDS = 512
"""Tokens of question and answer that a job is reckoned with, beside one picture of most tokens."""
BYTES_A_WEIGHT = {"none": 2.0, "int8": 1.0, "fp8": 1.0, "int4": 0.6}


def slots(settings: Settings) -> int:
    """Return how many jobs a worker has in hand at the same time.

    A model whose configuration cannot be read gets as many as a CPU; loading it will say why.
    """
    if settings.device_map:
        return SpreadEngine.slots
    if settings.slots is not None:
        return settings.slots
    place = device_of(settings.device)
    if place == "cpu":
        return ON_A_CPU
    try:
        config = AutoConfig.from_pretrained(
            settings.model, revision=settings.model_revision, trust_remote_code=False
        )
    except (OSError, ValueError):
        return ON_A_CPU
    memory, _ = torch.cuda.mem_get_info(place)
    return slots_that_fit(memory, config, BYTES_A_WEIGHT[settings.quantize])


def slots_that_fit(memory: int, config: Any, bytes_a_weight: float) -> int:
    """Return how many jobs of ordinary length the cache holds on a GPU with `memory` free bytes."""
    with torch.device("meta"):
        weights = LlavaNextForConditionalGeneration(config).num_parameters() * bytes_a_weight
    text, picture = config.get_text_config(), tiling_of(config).max_tokens
    features = picture * text.hidden_size * torch.bfloat16.itemsize
    job = (picture + WORDS) * token_bytes(text, torch.bfloat16) + features
    return min(MOST, max(FEWEST, int(SHARE_FOR_CACHE * (memory - weights) / job)))


def preprocess_processes(settings: Settings) -> int:
    """Return how many processes prepare pictures: on a CPU none, which would take its cores.

    Processes and not threads: the more threads prepare, the more they starve the one that feeds the
    GPU.
    """
    if settings.preprocess_processes is not None:
        return settings.preprocess_processes
    return 0 if device_of(settings.device) == "cpu" else min(8, max(1, (os.cpu_count() or 1) // 2))
