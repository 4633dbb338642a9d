"""Each kernel tried once, at the sizes of the model that it is to serve, against plain torch.

A kernel that cannot be compiled, or is wrong, is found before the first question; and what Triton
compiles is compiled here, and not while a graph is captured. What a kernel must not read is poison:
whatever comes of it is no number, and shows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import torch

from worker.engine.attention.kernels import DecodeStep, Kernels, PromptStep
from worker.engine.attention.reference import Reference
from worker.engine.errors import ModelError
from worker.engine.limits import key_shape

TOLERANCE = {torch.float32: 1e-4, torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""How far results may lie from those in float32, of which all are of the order of one."""

POISON = float("nan")

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Requests of a step that generates; so many that each number of splits is among theirs."""

SLOW = "set LLAVA_JOBS_SLOW_ATTENTION=true to answer several times slower without it"


@dataclass(frozen=True)
class Shape:
    """The sizes of a language model that its kernels depend on."""

    heads: int
    groups: int
    dim: int
    hidden: int
    intermediate: int

    @classmethod
    def of(cls, config: Any) -> "Shape":
        """Those of a text configuration of transformers."""
        groups, dim = key_shape(config)
        return cls(
            heads=config.num_attention_heads,
            groups=groups,
            dim=dim,
            hidden=config.hidden_size,
            intermediate=config.intermediate_size,
        )


class Trial:
    """Small inputs for one device, and what is right of them."""

    def __init__(
        self,
        kernels: Kernels,
        device: torch.device,
        dtype: torch.dtype,
        shape: Shape,
        page: int,
    ) -> None:
        """Try `kernels` on `device` in precision `dtype` with pages of `page` tokens."""
        self._kernels, self._shape, self._page = kernels, shape, page
        self._device, self._dtype = device, dtype
        self._draw = torch.Generator().manual_seed(0)

    def norm(self) -> None:
        """Three rows of different lengths."""
        x = self._random(3, self._shape.hidden) * self._of([1e-3, 1.0, 30.0]).unsqueeze(1)
        weight = self._random(self._shape.hidden)
        self._compare(self._kernels.norm(x, weight, 1e-5), Reference().norm(x, weight, 1e-5))

    def gated(self) -> None:
        """Three rows."""
        x = self._random(3, 2 * self._shape.intermediate)
        self._compare(self._kernels.gated(x), Reference().gated(x))

    def rotate_and_store(self) -> None:
        """Five tokens into two pages, and nothing beside them."""
        heads, groups, dim = self._shape.heads, self._shape.groups, self._shape.dim
        qkv = self._random(5, heads + 2 * groups, dim)
        angles = torch.rand(5, dim // 2, generator=self._draw).to(self._device) * 6
        slots = torch.tensor([3, 2, self._page, self._page + 2, 0], device=self._device) % (
            2 * self._page
        )
        turns = angles.cos(), angles.sin(), slots
        right, mine = (self._cache(2) for _ in range(2))
        wanted = Reference().rotate_and_store(qkv.clone(), *turns, *right, heads)
        given = self._kernels.rotate_and_store(qkv, *turns, *mine, heads)
        for got, want in zip((*given, *mine), (*wanted, *right), strict=True):
            self._compare(got, want)

    def prompt(self) -> None:
        """A whole prompt, one behind a cached beginning, and a single token."""
        queries, keys = [0, 5, 9, 10], [0, 5, 16, 23]
        step = PromptStep(
            slots=torch.arange(10, device=self._device),
            starts=self._int32(queries),
            key_starts=self._int32(keys),
            longest=(5, 11),
            reads=None,
            on_host=(queries, keys),
        )
        heads, groups, dim = self._shape.heads, self._shape.groups, self._shape.dim
        # As in a layer, they are parts of one tensor.
        qkv = self._random(23, heads + 2 * groups, dim)
        query, key, value = qkv[:10, :heads], qkv[:, heads : heads + groups], qkv[:, -groups:]
        scale = dim**-0.5
        wanted = Reference().prompt(query.float(), key.float(), value.float(), step, scale)
        self._compare(self._kernels.prompt(query, key, value, step, scale), wanted)

    def decode(self, rows: int) -> None:
        """So many requests, up to eight of them different; the last of those is a row that pads a
        graph."""
        page, dim = self._page, self._shape.dim
        different = min(rows, 8)
        lengths = [(37 * row) % (2 * page) + 1 for row in range(1, different)] + [1]
        keys, values = self._cache(2 * different)
        pages = [[2 * row + 1, 2 * row] for row in range(1, different)] + [[0, 0]]
        known = []
        for length, (first, second) in zip(lengths, pages, strict=True):
            slots = torch.cat(
                [torch.arange(page) + first * page, torch.arange(page) + second * page]
            )
            pair = self._random(2, length, self._shape.groups, dim)
            for cells, new in zip((keys, values), pair, strict=True):
                cells.flatten(0, 1)[slots[:length].to(self._device)] = new
            known.append(pair)
        query = self._random(different, self._shape.heads, dim)
        # The right answer, by what reads prompts: each request has one query, the last of its keys.
        starts = [0, *accumulate(lengths)]
        each = list(range(different + 1))
        alone = PromptStep(
            slots=torch.zeros(different, dtype=torch.int64, device=self._device),
            starts=self._int32(each),
            key_starts=self._int32(starts),
            longest=(1, max(lengths)),
            reads=None,
            on_host=(each, starts),
        )
        key, value = torch.cat(known, dim=1).float()
        wanted = Reference().prompt(query.float(), key, value, alone, dim**-0.5)
        which = torch.arange(rows, device=self._device) % different
        step = DecodeStep(
            slots=torch.zeros(rows, dtype=torch.int64, device=self._device),
            table=self._int32(pages)[which],
            lengths=self._int32(lengths)[which],
        )
        given = self._kernels.decode(query[which], keys, values, step, dim**-0.5)
        self._compare(given, wanted[which])

    def _random(self, *sizes: int) -> torch.Tensor:
        return torch.randn(*sizes, generator=self._draw).to(self._device, self._dtype)

    def _of(self, numbers: list[float]) -> torch.Tensor:
        return torch.tensor(numbers, device=self._device, dtype=self._dtype)

    def _int32(self, numbers: list[Any]) -> torch.Tensor:
        return torch.tensor(numbers, dtype=torch.int32, device=self._device)

    def _cache(self, pages: int) -> tuple[torch.Tensor, torch.Tensor]:
        sizes = (pages, self._page, self._shape.groups, self._shape.dim)
        keys, values = (
            torch.full(sizes, POISON, dtype=self._dtype, device=self._device) for _ in range(2)
        )
        return keys, values

    def _compare(self, given: torch.Tensor, wanted: torch.Tensor) -> None:
        """Raise ArithmeticError where they differ; poison is to be where it is wanted."""
        within = TOLERANCE[self._dtype]
        right = torch.isclose(given.float(), wanted.float(), within, within, equal_nan=True)
        if not right.all():
            raise ArithmeticError(f"{int((~right).sum())} of {right.numel()} numbers are wrong")


def try_all(
    kernels: Kernels,
    device: torch.device,
    dtype: torch.dtype,
    shape: Shape,
    page: int,
    rows: Sequence[int] = ROWS,
) -> None:
    """Try every kernel, that of decoding with each number of `rows`; raises ModelError for the
    first that cannot be used."""
    trial = Trial(kernels, device, dtype, shape, page)
    for step in (trial.norm, trial.gated, trial.rotate_and_store, trial.prompt):
        _try(step.__name__, step, device)
    for number in rows:
        _try("decode", partial(trial.decode, number), device)


def _try(name: str, step: Callable[[], None], device: torch.device) -> None:
    try:
        step()
    except Exception as error:
        raise ModelError(
            f"The kernel {name} cannot be used on {device}: {_cause_and_cure(error)}, or {SLOW}."
        ) from error


def _cause_and_cure(error: Exception) -> str:
    line = (str(error).splitlines() or [""])[0]
    if "C compiler" in line:
        return "Triton finds no C compiler; install gcc and the headers of libc, or set CC"
    if isinstance(error, ArithmeticError):
        return f"{line}; update the driver, triton and torch"
    return f"{type(error).__name__}: {line}; install the triton that this torch names"
