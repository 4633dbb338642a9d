"""What a worker takes on where its settings do not say: chosen from the machine and the model."""

from __future__ import annotations

import os
from importlib.resources import files
from typing import Any

import torch
from transformers import AutoConfig

from jobs.settings import DEMO_MODEL, Settings
from worker.engine import SpreadEngine
from worker.engine.memory import FEWEST_SLOTS, plan
from worker.engine.model.loading import device_of, dtype_of
from worker.engine.model.quantization import Quantize

ON_A_CPU = 32
MOST_SLOTS = 256


def model_of(settings: Settings) -> str:
    """Return the folder or the hub's name of the model that settings name."""
    return str(files("demo") / "weights") if settings.model == DEMO_MODEL else settings.model


def config_of(settings: Settings) -> Any | None:
    """Return the model's configuration; None where it cannot be read: loading will say why."""
    try:
        return AutoConfig.from_pretrained(
            model_of(settings), revision=settings.model_revision, trust_remote_code=False
        )
    except (OSError, ValueError):
        return None


def slots(settings: Settings) -> int:
    """Return how many jobs a worker has in hand at the same time.

    A model whose configuration cannot be read gets as many as a CPU; loading it will say why.
    """
    if settings.device_map:
        return SpreadEngine.slots
    if settings.slots is not None:
        return settings.slots
    place = device_of(settings.device)
    config = None if place == "cpu" else config_of(settings)
    if config is None:
        return ON_A_CPU
    free, _ = torch.cuda.mem_get_info(place)
    dtype = getattr(torch, dtype_of(settings.dtype, place))
    return slots_that_fit(free, config, settings.quantize, dtype)


def slots_that_fit(free: int, config: Any, quantize: Quantize, dtype: torch.dtype) -> int:
    """Return how many jobs of ordinary length the cache holds on a GPU with `free` bytes."""
    return min(MOST_SLOTS, max(FEWEST_SLOTS, plan(config, quantize, dtype).jobs(free)))


def largest_step(settings: Settings) -> tuple[int | None, int | None]:
    """Return the tokens of a step and the tiles of a pass that a GPU has room for beside its cache;
    (None, None), for what the engine takes by itself, where there is no GPU or no configuration."""
    place = device_of(settings.device)
    config = None if place == "cpu" else config_of(settings)
    if config is None:
        return None, None
    free, _ = torch.cuda.mem_get_info(place)
    dtype = getattr(torch, dtype_of(settings.dtype, place))
    planned = plan(
        *(config, settings.quantize, dtype, slots(settings)),
        slow_attention=settings.slow_attention,
    )
    return planned.step_tokens(free), planned.tiles_per_pass(free)


def preprocess_processes(settings: Settings) -> int:
    """Return how many processes prepare pictures: on a CPU none, which would take its cores.

    Processes and not threads: the more threads prepare, the more they starve the one that feeds the
    GPU.
    """
    if settings.preprocess_processes is not None:
        return settings.preprocess_processes
    return 0 if device_of(settings.device) == "cpu" else min(8, max(1, (os.cpu_count() or 1) // 2))
