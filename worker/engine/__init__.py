"""Visual question answering, many requests at once. Knows nothing of jobs, Redis or HTTP."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import worker.engine.quiet  # noqa: F401 - first, before anything imports transformers
from worker.engine.errors import (
    EngineClosed,
    EngineError,
    EngineFailed,
    ImageUnreadable,
    InvalidRequest,
    ModelError,
    OutOfMemory,
    PreprocessingCrashed,
    PromptTooLong,
    TooManyImages,
)
from worker.engine.requests import Picture, Request, Result, Timing, Turn

if TYPE_CHECKING:
    from worker.engine.answers import Answer
    from worker.engine.counts import Counts, Memory
    from worker.engine.engine import Engine
    from worker.engine.limits import Limits
    from worker.engine.spread import SpreadEngine

__all__ = [
    "Answer",
    "Counts",
    "Engine",
    "EngineClosed",
    "EngineError",
    "EngineFailed",
    "ImageUnreadable",
    "InvalidRequest",
    "Limits",
    "Memory",
    "ModelError",
    "OutOfMemory",
    "Picture",
    "PreprocessingCrashed",
    "PromptTooLong",
    "Request",
    "Result",
    "SpreadEngine",
    "Timing",
    "TooManyImages",
    "Turn",
]

_WITH_TORCH = {
    "Answer": "answers",
    "Counts": "counts",
    "Engine": "engine",
    "Limits": "limits",
    "Memory": "counts",
    "SpreadEngine": "spread",
}


def __getattr__(name: str) -> Any:
    # Torch takes seconds to load: who only speaks of requests and errors need not wait for it.
    if name in _WITH_TORCH:
        return getattr(import_module(f"worker.engine.{_WITH_TORCH[name]}"), name)
    raise AttributeError(name)
