"""How many jobs a GPU answers and holds by arithmetic alone: the table of the operations manual."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

import torch
from transformers import LlavaNextForConditionalGeneration

from bench.ceilings import Ceilings
from bench.cost import BFLOAT16, FP8, Costs, Job, Numbers, least_seconds
from bench.model import configuration
from bench.shape import MISTRAL_7B, Shape
from worker.hardware import MOST, SHARE_FOR_CACHE

JOB = Job(tiles=5, prompt=2400, known=0, answer=128)
"""A 640x480 photo, which is 2,340 tokens, and 60 tokens of question."""
AGAIN = Job(tiles=0, prompt=2400, known=2340, answer=128)
"""The same picture, asked about again."""

VICUNA_7B = replace(MISTRAL_7B, intermediate=11008, kv_heads=32, context=4096)
VICUNA_13B = replace(VICUNA_7B, hidden=5120, intermediate=13824, layers=40, heads=40, kv_heads=40)
YI_34B = replace(
    VICUNA_7B,
    hidden=7168,
    intermediate=20480,
    layers=60,
    heads=56,
    kv_heads=8,
    vocabulary=64064,
)


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
    """A model in a number type on a GPU; `needed` is the memory that README.md asks for."""

    model: str
    shape: Shape
    numbers: Numbers
    gpu: Gpu
    needed: str

    @property
    def name(self) -> str:
        """The model and its weights, as the table names them."""
        return f"{self.model}, {'fp8' if self.numbers == FP8 else 'bf16'}"

    @property
    def costs(self) -> Costs:
        """What parts of a job cost."""
        return Costs(configuration(self.shape), self.numbers)

    @property
    def weights(self) -> float:
        """Bytes of all weights."""
        with torch.device("meta"):
            model = LlavaNextForConditionalGeneration(configuration(self.shape))
        saved = self.costs.weights * self.numbers.size - self.costs.weight_bytes
        return float(model.num_parameters() * self.numbers.size - saved)

    @property
    def cached_jobs(self) -> int:
        """Jobs that the cache holds, as the engine sizes it."""
        job = (JOB.prompt + JOB.answer) * self.costs.token_bytes
        return int(SHARE_FOR_CACHE * (self.gpu.memory - self.weights) / job)

    @property
    def jobs_per_second(self) -> float:
        """The limit with as many jobs in the batch as the cache holds and a worker takes."""
        batch = min(self.cached_jobs, MOST)
        return 1 / least_seconds(self.costs, [JOB], batch, self.gpu.ceilings)

    def row(self) -> tuple[str, ...]:
        """Return the row of the table."""
        jobs, rate = f"{self.cached_jobs}", f"{self.jobs_per_second:.1f}"
        return (self.name, self.gpu.name, self.needed, jobs, rate, "computed")


SIZED = (
    Sized("7B mistral", MISTRAL_7B, BFLOAT16, H200, "18 GB"),
    Sized("7B mistral", MISTRAL_7B, FP8, H200, "12 GB"),
    Sized("7B mistral", MISTRAL_7B, BFLOAT16, H100, "18 GB"),
    Sized("7B vicuna", VICUNA_7B, BFLOAT16, H200, "18 GB"),
    Sized("13B vicuna", VICUNA_13B, BFLOAT16, H200, "32 GB"),
    Sized("13B vicuna", VICUNA_13B, FP8, H200, "20 GB"),
    Sized("34B Yi", YI_34B, BFLOAT16, H200, "74 GB"),
    Sized("34B Yi", YI_34B, FP8, H200, "41 GB"),
)


def markdown() -> str:
    """Return the rows of the table in Markdown."""
    return "".join(f"| {' | '.join(sized.row())} |\n" for sized in SIZED)


if __name__ == "__main__":
    sys.stdout.write(markdown())
