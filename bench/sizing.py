"""What GPUs hold and how many jobs they answer, by arithmetic alone: the tables of README.md and of
docs/operations.md."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch

from bench.ceilings import Ceilings
from bench.cost import BFLOAT16, FP8, Costs, Job, Numbers, least_seconds
from bench.model import configuration
from bench.shape import MISTRAL_7B, VICUNA_7B, VICUNA_13B, YI_34B, Shape
from worker.cards import BY_SIZE, Card, Form, check_form
from worker.engine.memory import CONTEXT, plan
from worker.engine.model.quantization import Quantize
from worker.hardware import MOST_SLOTS, slots_that_fit

JOB = Job(tiles=5, prompt=2400, known=0, answer=128)
"""A 640x480 photo, which is 2,340 tokens, and 60 tokens of question."""
AGAIN = Job(tiles=0, prompt=2400, known=2340, answer=128)
"""The same picture, asked about again."""


@dataclass(frozen=True)
class Gpu:
    """A GPU as a table names it, its memory in bytes, and what it can do at most."""

    name: str
    memory: int
    ceilings: Ceilings


H200 = Gpu("H200, 139 GiB", 139 << 30, Ceilings(790e12, 4.3e12, 1580e12))
H100 = Gpu("H100, 78 GiB", 78 << 30, Ceilings(790e12, 3.35e12, 1580e12))


@dataclass(frozen=True)
class Sized:
    """A model in a number type on a GPU."""

    model: str
    shape: Shape
    numbers: Numbers
    gpu: Gpu

    @property
    def mode(self) -> Quantize:
        """How the language model's weights are held."""
        return "fp8" if self.numbers == FP8 else "none"

    @property
    def costs(self) -> Costs:
        """What parts of a job cost."""
        return Costs(configuration(self.shape), self.numbers)

    @property
    def cached_jobs(self) -> int:
        """Jobs that the cache holds, as the engine sizes it."""
        config = configuration(self.shape)
        slots = slots_that_fit(self.gpu.memory, config, self.mode, torch.bfloat16)
        planned = plan(config, self.mode, torch.bfloat16, slots)
        return planned.cached_tokens(self.gpu.memory) // (JOB.prompt + JOB.answer)

    @property
    def jobs_per_second(self) -> float:
        """The limit with as many jobs in the batch as the cache holds and a worker takes."""
        batch = min(self.cached_jobs, MOST_SLOTS)
        return 1 / least_seconds(self.costs, [JOB], batch, self.gpu.ceilings)

    def row(self) -> tuple[str, ...]:
        """Return the row of the table."""
        name = f"{self.model}, {'fp8' if self.mode == 'fp8' else 'bf16'}"
        jobs, rate = f"{self.cached_jobs}", f"{self.jobs_per_second:.1f}"
        return (name, self.gpu.name, needed(self.shape, self.mode), jobs, rate, "computed")


SIZED = (
    Sized("7B mistral", MISTRAL_7B, BFLOAT16, H200),
    Sized("7B mistral", MISTRAL_7B, FP8, H200),
    Sized("7B mistral", MISTRAL_7B, BFLOAT16, H100),
    Sized("7B vicuna", VICUNA_7B, BFLOAT16, H200),
    Sized("13B vicuna", VICUNA_13B, BFLOAT16, H200),
    Sized("13B vicuna", VICUNA_13B, FP8, H200),
    Sized("34B Yi", YI_34B, BFLOAT16, H200),
    Sized("34B Yi", YI_34B, FP8, H200),
)

RELEASED = {
    "llava-hf/llava-v1.6-mistral-7b-hf": MISTRAL_7B,
    "llava-hf/llava-v1.6-vicuna-7b-hf": VICUNA_7B,
    "llava-hf/llava-v1.6-vicuna-13b-hf": VICUNA_13B,
    "llava-hf/llava-v1.6-34b-hf": YI_34B,
}


@dataclass(frozen=True)
class Served:
    """A card of so many GiB, by its name and CUDA compute capability, and what it is to serve."""

    card: str
    memory: int
    capability: tuple[int, int]
    model: str
    form: Form

    def check(self) -> None:
        """Raise ModelError where the card cannot serve it."""
        card = Card(self.card, self.capability, self.free, ())
        check_form(card, self.model, configuration(RELEASED[self.model]), self.form)

    @property
    def free(self) -> int:
        """Bytes of it that an engine may have."""
        return (self.memory << 30) - CONTEXT

    def row(self) -> tuple[str, ...]:
        """Return the row of the table."""
        config, mode = configuration(RELEASED[self.model]), self.form.quantize
        dtype = getattr(torch, self.form.dtype)
        jobs = max(1, plan(config, mode, dtype).jobs(self.free))
        settings = f"`{self.form.differing(PLAIN)}`"
        card = "{}, {} GB ({}.{})".format(self.card, self.memory, *self.capability)
        return (card, self.model.split("/")[1], settings, f"{jobs}")


PLAIN = Form(dtype="bfloat16", slow_attention=False, quantize="none")
NF4 = replace(PLAIN, quantize="nf4")
PASCAL = Form(dtype="float16", slow_attention=True, quantize="nf4")

SERVED = (
    Served("RTX 3070", 8, (8, 6), "llava-hf/llava-v1.6-mistral-7b-hf", NF4),
    Served("RTX 3070", 8, (8, 6), "llava-hf/llava-v1.6-vicuna-7b-hf", NF4),
    Served("GTX 1080 Ti", 11, (6, 1), "llava-hf/llava-v1.6-mistral-7b-hf", PASCAL),
    Served("GTX 1080 Ti", 11, (6, 1), "llava-hf/llava-v1.6-vicuna-7b-hf", PASCAL),
    Served("RTX 4080", 16, (8, 9), "llava-hf/llava-v1.6-vicuna-13b-hf", NF4),
    Served("RTX 3090", 24, (8, 6), "llava-hf/llava-v1.6-34b-hf", NF4),
)


def needed(shape: Shape, mode: Quantize) -> str:
    """The memory of a card that serves a model at all, as a table names it."""
    size = plan(configuration(shape), mode, torch.bfloat16).needed + CONTEXT
    return f"{math.ceil(10 * size / 2**30) / 10:.1f} GiB"


def hardware() -> str:
    """Return README's table of models in Markdown, without its head."""
    rows = [
        (f"`{name}`", *(needed(shape, mode) for mode in BY_SIZE), f"{shape.context:,}")
        for name, shape in RELEASED.items()
    ]
    return markdown(rows)


def markdown(rows: Iterable[tuple[str, ...]]) -> str:
    """Return rows of a table in Markdown."""
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    sys.stdout.write(markdown(sized.row() for sized in SIZED) + "\n" + hardware() + "\n")
    sys.stdout.write(markdown(served.row() for served in SERVED))
