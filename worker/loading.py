"""The engine of a worker, as its settings want it."""

from __future__ import annotations

from importlib.util import find_spec

from jobs.settings import Settings
from worker.cards import check
from worker.engine import Engine, Limits, ModelError, SpreadEngine
from worker.engine.serving import Serving
from worker.hardware import largest_step, model_of, preprocess_processes, slots

__all__ = ["load_engine", "slots"]


def load_engine(settings: Settings) -> Serving:
    """Return the engine of the model in ``settings``, loaded and warm; raises ModelError."""
    model = model_of(settings)
    if settings.engine == "vllm":
        return _vllm(settings, model)
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
    check(settings)
    step_tokens, tiles = largest_step(settings)
    return Engine.load(
        model,
        revision=settings.model_revision,
        device=settings.device,
        dtype=settings.dtype,
        quantize=settings.quantize,
        slow_attention=settings.slow_attention,
        limits=Limits(
            slots=slots(settings),
            cache_tokens=settings.cache_tokens or None,
            step_tokens=step_tokens,
            tiles_per_pass=tiles,
            processes=preprocess_processes(settings),
        ),
    )


def _vllm(settings: Settings, model: str) -> Serving:
    if settings.quantize not in ("none", "fp8") or settings.device_map:
        raise ModelError(
            "With LLAVA_JOBS_ENGINE=vllm LLAVA_JOBS_QUANTIZE is none or fp8, and several GPUs are "
            "LLAVA_JOBS_TENSOR_PARALLEL, not LLAVA_JOBS_DEVICE_MAP."
        )
    if find_spec("vllm") is None:
        raise ModelError(
            "LLAVA_JOBS_ENGINE is vllm and vLLM is not installed here; install it, or unset the "
            "setting."
        )
    from worker.vllm.engine import VllmEngine

    return VllmEngine.load(
        model,
        revision=settings.model_revision,
        slots=slots(settings),
        dtype=settings.dtype,
        tensor_parallel_size=settings.tensor_parallel,
        pipeline_parallel_size=settings.pipeline_parallel,
        quantization=None if settings.quantize == "none" else settings.quantize,
    )
