"""Visual question answering, many requests at once. Knows nothing of jobs, Redis or HTTP."""

import worker.engine.quiet  # noqa: F401 - first, before anything imports transformers
from worker.engine.answers import Answer
from worker.engine.engine import Engine
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
from worker.engine.limits import Limits
from worker.engine.requests import Picture, Request, Result, Timing, Turn
from worker.engine.spread import SpreadEngine

__all__ = [
    "Answer",
    "Engine",
    "EngineClosed",
    "EngineError",
    "EngineFailed",
    "ImageUnreadable",
    "InvalidRequest",
    "Limits",
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
