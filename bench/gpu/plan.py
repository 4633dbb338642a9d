"""What a run measures, what it may take, and what its parts hand to each other."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field
from pathlib import Path

import torch

from bench.ceilings import Ceilings
from bench.cost import BFLOAT16, FLOAT32, FP8
from bench.shape import Shape
from bench.workload import Question
from worker.engine import Engine, Result

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "fp8": torch.bfloat16}
NUMBERS = {"float32": FLOAT32, "bfloat16": BFLOAT16, "fp8": FP8}


class Skipped(Exception):
    """A part that cannot be measured here, and why."""


@dataclass(frozen=True)
class Plan:
    """What is measured: jobs of a run, tokens of every answer, slots, tokens of a prompt and sizes
    of the batch in single steps, answers held to the reference, seconds for all, and vLLM's
    virtual environment, where it is not this one."""

    shape: Shape
    device: str
    dtype: str
    count: int
    tokens: int
    slots: int
    prompt: int
    batches: tuple[int, ...]
    checked: int
    seconds: float
    seed: int
    vllm: Path | None = None

    @property
    def kind(self) -> str:
        """The kind of device: cuda or cpu."""
        return torch.device(self.device).type

    @property
    def on_cuda(self) -> bool:
        """Whether the device is a CUDA one."""
        return self.kind == "cuda"


@dataclass
class State:
    """What parts leave for later ones; `precision` is that of the engine, as in DTYPES."""

    plan: Plan
    questions: dict[str, list[Question]]
    engine: Engine | None = None
    precision: str = ""
    ceilings: dict[str, Ceilings] = field(default_factory=dict)
    answered: list[tuple[Question, Result]] = field(default_factory=list)

    def needs_engine(self) -> Engine:
        """The engine; raises Skipped where it could not be built."""
        if self.engine is None:
            raise Skipped("there is no engine")
        return self.engine

    def needs_cuda(self) -> None:
        """Raise Skipped on other devices."""
        if not self.plan.on_cuda:
            raise Skipped("needs CUDA")

    def release(self) -> None:
        """Close the engine and give its memory back."""
        if self.engine is not None:
            self.engine.close()
        self.engine = None
        gc.collect()
        if self.plan.on_cuda:
            torch.cuda.empty_cache()
