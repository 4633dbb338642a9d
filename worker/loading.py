"""The engine of a worker, as its settings want it."""

from __future__ import annotations

import os
import socket
from importlib.resources import files
from typing import Any

import torch

from jobs.settings import DEMO_MODEL, Settings
from worker.engine import Engine, Limits


def load_engine(settings: Settings) -> Engine:
    """Return the engine of the model in ``settings``, loaded and warm; raises ModelError."""
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = settings.dtype
    if dtype == "auto":
        dtype = "float32" if device == "cpu" else "bfloat16"
    return Engine.load(
        str(files("demo") / "weights") if settings.model == DEMO_MODEL else settings.model,
        revision=settings.model_revision,
        device=device,
        dtype=dtype,
        quantize=settings.quantize,
        limits=Limits(
            slots=settings.slots,
            cache_tokens=settings.cache_tokens or None,
            processes=settings.preprocess_processes,
        ),
    )


def facts(engine: Engine) -> dict[str, Any]:
    """Return what a worker tells about itself with each renewal."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "slots": engine.slots,
        "running": engine.running,
        "waiting": engine.waiting,
    }
