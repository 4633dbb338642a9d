"""`bench gpu`: a model of a true shape with random weights on one device, held to `generate`.

Self-contained: no network, no checkpoint, and no store unless asked for. The same code runs on a
CPU with a small shape, which is how it is tested.
"""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean

import torch
from tqdm import tqdm
from transformers import LlavaNextForConditionalGeneration

from bench.ceilings import Ceilings, measure
from bench.cost import BFLOAT16, FLOAT32, FP8, Cost, Costs, Job, jobs_of, least_seconds
from bench.engine_alone import request_of
from bench.generating import Generating
from bench.model import new_model, processor
from bench.processes import share_cores
from bench.shape import Shape
from bench.system import system
from bench.workload import Question, different_pictures, one_picture
from worker.engine import Engine, Limits, Result
from worker.engine.model import loading, quantization
from worker.engine.model.loading import Loaded
from worker.engine.model.quantization import Quantize

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "fp8": torch.bfloat16}
NUMBERS = {"float32": FLOAT32, "bfloat16": BFLOAT16, "fp8": FP8}
_REFERENCE_BATCH = 32
_CALLERS = 60
"""A caller that waits holds one of the API's 64 threads."""
Draw = Callable[[int, int], list[Question]]


@dataclass(frozen=True)
class Plan:
    """What is measured; `parity` are the batch sizes at which answers are held to `generate`."""

    shape: Shape
    device: str
    count: int
    tokens: int
    slots: int
    seed: int
    parity: tuple[int, ...]


@dataclass(frozen=True)
class Rate:
    """One run: jobs in so many seconds, and what they cost at the least."""

    name: str
    dtype: str
    jobs: int
    seconds: float
    cost: Cost
    least_seconds: float
    ceilings: Ceilings

    @property
    def jobs_per_second(self) -> float:
        """Jobs answered per second."""
        return self.jobs / self.seconds

    @property
    def share(self) -> float:
        """The share of the measured limit that was reached."""
        return self.least_seconds / self.seconds


@dataclass(frozen=True)
class Parity:
    """How many of a batch's answers equal `generate`'s token for token, and the mean share of an
    answer before the first token that differs."""

    dtype: str
    batch: int
    equal: int
    agreeing: float


@dataclass(frozen=True)
class Found:
    """Everything that a run found."""

    rates: list[Rate] = field(default_factory=list)
    parities: list[Parity] = field(default_factory=list)


def measure_device(plan: Plan, dtypes: Sequence[str], with_system: bool) -> Found:
    """Measure a device with each number type; `fp8` keeps the language model's linear layers in 8
    bits. With the system, the first type is measured through HTTP too."""
    share_cores()
    found = Found()
    for dtype in dtypes:
        _measure(plan, dtype, found)
        gc.collect()
    if with_system:
        found.rates.append(_through_http(plan, dtypes[0], found.rates[0]))
    return found


def _measure(plan: Plan, dtype: str, found: Found) -> None:
    ceilings = measure(plan.device, DTYPES[dtype])
    loaded = load(plan, dtype)
    held = _questions(different_pictures, max(plan.parity, default=0), plan)
    known = _reference(loaded, held)
    processes = (os.cpu_count() or 1) - 1 if plan.device.startswith("cuda") else 0
    engine = Engine(loaded, Limits(slots=plan.slots, processes=processes))
    try:
        _submit_all(engine, held[:4] or _questions(different_pictures, 4, plan), "warm-up")
        for name, draw in (
            ("different pictures", different_pictures),
            ("one picture", one_picture),
        ):
            questions = _questions(draw, plan.count, plan, shift=1)
            seconds, results = _submit_all(engine, questions, f"{name}, {dtype}")
            costs = Costs(loaded.model.config, NUMBERS[dtype])
            jobs = _jobs(loaded, questions, results)
            cost = sum((c for job in jobs for c in costs.stages(job, plan.slots)), Cost())
            least = least_seconds(costs, jobs, plan.slots, ceilings)
            found.rates.append(Rate(name, dtype, len(results), seconds, cost, least, ceilings))
        for size in plan.parity:
            _, results = _submit_all(engine, held[:size], f"batch of {size}, {dtype}")
            found.parities.append(_held_to(known[:size], results, dtype))
    finally:
        engine.close()


def load(plan: Plan, dtype: str) -> Loaded:
    """Build the model on its device, its weights held as the engine holds a checkpoint's.

    Nothing is read from disk. Raises ModelError where the device has no fp8.
    """
    mode = _quantize(dtype)
    quantization.check(mode, plan.device, _name(dtype))
    model = _build(plan, dtype)
    quantization.quantize(model, mode, plan.device)
    tools = processor(plan.shape)
    return loading.assemble(
        model, tools, tools.image_processor, name="random weights", device=plan.device
    )


def _build(plan: Plan, dtype: str) -> LlavaNextForConditionalGeneration:
    torch.set_default_dtype(DTYPES[dtype])
    try:
        with torch.device(plan.device):
            return new_model(plan.shape)
    finally:
        torch.set_default_dtype(torch.float32)


def _quantize(dtype: str) -> Quantize:
    return "fp8" if dtype == "fp8" else "none"


def _name(dtype: str) -> str:
    """The precision of what is not quantised, as settings name it."""
    return str(DTYPES[dtype]).removeprefix("torch.")


def _submit_all(
    engine: Engine, questions: Sequence[Question], name: str
) -> tuple[float, list[Result]]:
    """Submit everything at once and return the seconds until the last answer, and the answers."""
    started = time.perf_counter()
    answers = [engine.submit(request_of(q, scope=name, ignore_eos=True)) for q in questions]
    results = [answer.result() for answer in tqdm(answers, name, unit="job", leave=False)]
    return time.perf_counter() - started, results


def _reference(loaded: Loaded, questions: Sequence[Question]) -> list[list[int]]:
    """What `generate` answers, in small batches; the engine takes the model over afterwards."""
    generating = Generating(loaded.model, loaded.processor)
    starts = range(0, len(questions), _REFERENCE_BATCH)
    return [
        ids
        for start in tqdm(starts, "reference", unit="batch", leave=False)
        for ids in generating.tokens(questions[start : start + _REFERENCE_BATCH])
    ]


def _held_to(known: Sequence[list[int]], found: Sequence[Result], dtype: str) -> Parity:
    pairs = [(ids, list(result.token_ids)) for ids, result in zip(known, found, strict=True)]
    agreeing = [
        next((i for i, (a, b) in enumerate(zip(*pair, strict=True)) if a != b), len(pair[0]))
        / len(pair[0])
        for pair in pairs
    ]
    return Parity(dtype, len(pairs), sum(a == b for a, b in pairs), mean(agreeing))


def _questions(draw: Draw, count: int, plan: Plan, shift: int = 0) -> list[Question]:
    drawn = draw(count, plan.seed + shift)
    return [replace(question, max_new_tokens=plan.tokens) for question in drawn]


def _jobs(loaded: Loaded, questions: Sequence[Question], results: Sequence[Result]) -> list[Job]:
    prompts = {id(q): r.prompt_tokens for q, r in zip(questions, results, strict=True)}
    return jobs_of(questions, loaded.tiling, lambda question: prompts[id(question)])


def _through_http(plan: Plan, dtype: str, alone: Rate) -> Rate:
    """Different pictures through HTTP, ledger and Celery, from a checkpoint on disk."""
    questions = _questions(different_pictures, plan.count, plan, shift=2)
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as name:
        folder = Path(name) / "model"
        processor(plan.shape).save_pretrained(folder)
        _build(plan, dtype).save_pretrained(folder)
        gc.collect()
        if plan.device.startswith("cuda"):
            torch.cuda.empty_cache()  # the worker is another process
        settings = {
            "device": plan.device,
            "dtype": _name(dtype),
            "quantize": _quantize(dtype),
        }
        with system(folder, plan.slots, **settings) as run:
            run(_questions(different_pictures, 4, plan), 4, lambda: None)
            with tqdm(total=len(questions), desc="through HTTP", leave=False) as bar:
                measured = run(questions, min(plan.slots, _CALLERS), bar.update)
    return replace(alone, name="through HTTP", seconds=measured.seconds)
