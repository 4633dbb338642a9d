"""The engine of a worker, as its settings want it."""

from __future__ import annotations

import os
import socket
from importlib.resources import files
from typing import Any

from jobs.settings import DEMO_MODEL, Settings
from worker import hardware
from worker.engine import Engine, Limits, ModelError, SpreadEngine


def load_engine(settings: Settings) -> Engine | SpreadEngine:
    """Return the engine of the model in ``settings``, loaded and warm; raises ModelError."""
    model = str(files("demo") / "weights") if settings.model == DEMO_MODEL else settings.model
    if settings.device_map:
        if settings.quantize != "none":
            raise ModelError(
                "A model that is spread by LLAVA_JOBS_DEVICE_MAP cannot be quantised; unset it or "
                "LLAVA_JOBS_QUANTIZE."
            )
        return SpreadEngine.load(
            model,
            revision=settings.model_revision,
            dtype=settings.dtype,
            device_map=settings.device_map,
        )
    return Engine.load(
        model,
        revision=settings.model_revision,
        device=settings.device,
        dtype=settings.dtype,
        quantize=settings.quantize,
        limits=Limits(
            slots=hardware.slots(settings),
            cache_tokens=settings.cache_tokens or None,
            processes=hardware.preprocess_processes(settings),
        ),
    )


def facts(engine: Engine | SpreadEngine) -> dict[str, Any]:
    """Return what a worker tells about itself with each renewal."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "slots": engine.slots,
        "running": engine.running,
        "waiting": engine.waiting,
    }
