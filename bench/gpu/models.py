"""The model of a run: random weights of a true shape, built on the device and never on disk."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import torch

from bench.gpu import steps
from bench.gpu.journal import Record
from bench.gpu.plan import DTYPES, Plan, State
from bench.model import new_model, processor
from bench.shape import Shape
from worker.engine import Engine, Limits
from worker.engine.model import loading, quantization
from worker.engine.model.loading import Loaded
from worker.engine.model.quantization import Quantize


def build(state: State) -> Iterator[Record]:
    """Build the model and an engine around it."""
    yield from _build(state, state.plan.dtype)


def build_fp8(state: State) -> Iterator[Record]:
    """Build them anew, with linear layers in 8 bits."""
    state.needs_cuda()
    yield from _build(state, "fp8")


def _build(state: State, precision: str) -> Iterator[Record]:
    state.release()
    began = time.perf_counter()
    loaded = load(state.plan.shape, state.plan.device, precision)
    yield {"numbers": precision, "model_s": time.perf_counter() - began, **memory(state.plan)}
    state.engine = engine_of(loaded, state.plan)
    state.precision = precision
    yield {
        "numbers": precision,
        "engine_s": time.perf_counter() - began,
        "graphs": steps.graphs_of(state.engine),
        "cache_tokens": steps.batch_of(state.engine).capacity_tokens,
        **memory(state.plan),
    }


def load(shape: Shape, device: str, precision: str) -> Loaded:
    """Build the model, its weights held as the engine holds a checkpoint's.

    Raises ModelError where the device has no fp8.
    """
    mode: Quantize = "fp8" if precision == "fp8" else "none"
    dtype = DTYPES[precision]
    quantization.check(mode, device, str(dtype).removeprefix("torch."))
    model = random_model(shape, device, dtype)
    quantization.quantize(model, mode, device)
    return assembled(model, shape, device)


def assembled(model: Any, shape: Shape, device: str) -> Loaded:
    """Put a model and its processors together on a device."""
    tools = processor(shape)
    return loading.assemble(
        model, tools, tools.image_processor, name="random weights", device=device
    )


def random_model(shape: Shape, device: str, dtype: torch.dtype) -> Any:
    """The model as transformers has it; the same weights each time on the same device."""
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            return new_model(shape)
    finally:
        torch.set_default_dtype(torch.float32)


def engine_of(loaded: Loaded, plan: Plan, **changes: Any) -> Engine:
    """An engine around a model; `changes` are limits other than the run's."""
    processes = (os.cpu_count() or 1) - 1 if plan.on_cuda else 0
    limits: dict[str, Any] = {"slots": plan.slots, "processes": processes, **changes}
    return Engine(loaded, Limits(**limits))


def memory(plan: Plan) -> Record:
    """What is taken of the device's memory."""
    if not plan.on_cuda:
        return {}
    free, total = torch.cuda.mem_get_info(plan.device)
    return {"used_bytes": total - free}
