"""Single kernels: each loaded with nothing in its place, held to plain torch, and timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from bench.ceilings import best_seconds
from bench.gpu.journal import Record
from bench.gpu.plan import DTYPES, Plan, State
from bench.model import configuration
from worker.engine.attention import gpu, trial
from worker.engine.attention.kernels import DecodeStep, Kernels, PromptStep
from worker.engine.limits import PAGES_OF, STEP_OF

_TRIED = ("norm", "gated", "rotate_and_store", "prompt")


def loaded(state: State) -> Iterator[Record]:
    """Load the device's kernels at the sizes of the model, and say which they are."""
    found = load(state.plan)
    yield {"kernels": type(found).__name__, "capturable": found.capturable}


def against_references(state: State) -> Iterator[Record]:
    """Hold each kernel to the reference in float32, with what must not be read poisoned."""
    plan = state.plan
    device = torch.device(plan.device)
    shape = trial.Shape.of(configuration(plan.shape).text_config)
    tried = trial.Trial(load(plan), device, DTYPES[plan.dtype], shape, _page(plan))
    checks: list[tuple[str, Callable[[], None]]] = [(name, getattr(tried, name)) for name in _TRIED]
    checks += [(f"decode {rows}", partial(tried.decode, rows)) for rows in plan.batches]
    for name, check in checks:
        try:
            check()
        except Exception as error:  # noqa: BLE001 - what one kernel meets keeps no other from it
            yield {"kernel": name, "failed": f"{type(error).__name__}: {error}"}
        else:
            yield {"kernel": name, "right": True}


def times(state: State) -> Iterator[Record]:
    """Time each kernel of one layer at the sizes of a full step."""
    plan = state.plan
    kernels, text = load(plan), configuration(plan.shape).text_config
    made = _Inputs(plan, text)
    tokens = min(STEP_OF[plan.kind], 4 * plan.prompt)
    x, weight = made.random(tokens, text.hidden_size), made.random(text.hidden_size)
    yield _timed("norm", tokens, lambda: kernels.norm(x, weight, 1e-5), 2 * made.bytes_of(x), plan)
    both = made.random(tokens, 2 * text.intermediate_size)
    moved = made.bytes_of(both) * 3 // 2
    yield _timed("gated", tokens, lambda: kernels.gated(both), moved, plan)
    qkv = made.random(tokens, made.heads + 2 * made.groups, made.dim)
    cos, sin = (torch.rand(tokens, made.dim // 2, device=x.device) for _ in range(2))
    _, keys, values, _ = made.decode(-(-tokens // plan.prompt))
    slots = torch.randperm(keys.shape[0] * keys.shape[1], device=x.device)[:tokens]
    rotate = partial(kernels.rotate_and_store, qkv, cos, sin, slots, keys, values, made.heads)
    yield _timed("rotate and store", tokens, rotate, 2 * made.bytes_of(qkv), plan)
    for rows in plan.batches:
        query, keys, values, step = made.decode(rows)
        read = 2 * rows * plan.prompt * made.groups * made.dim * x.element_size()
        yield _timed(
            f"decode, {plan.prompt} keys",
            rows,
            partial(kernels.decode, query, keys, values, step, made.dim**-0.5),
            read,
            plan,
        )
    query, key, value, whole = made.prompt(max(1, tokens // plan.prompt))
    pairs = len(query) * (plan.prompt + 1) // 2
    record = _timed(
        f"prompt, requests of {plan.prompt}",
        len(query),
        lambda: kernels.prompt(query, key, value, whole, made.dim**-0.5),
        0,
        plan,
    )
    flops = 4 * made.heads * made.dim * pairs
    yield {**record, "flops_per_s": flops / (record["ms"] / 1000)}


def load(plan: Plan) -> Kernels:
    """The kernels that an engine would have on this device, and no slower ones in their place.

    Raises ModelError where one cannot be used.
    """
    if not plan.on_cuda:
        from worker.engine.attention.cpu import Cpu  # numba may be absent where a GPU is

        return Cpu()
    text = configuration(plan.shape).text_config
    return gpu.load(torch.device(plan.device), DTYPES[plan.dtype], text, page=_page(plan))


class _Inputs:
    """Random inputs at the sizes of one layer."""

    def __init__(self, plan: Plan, text: Any) -> None:
        self._plan = plan
        self._page = _page(plan)
        self._device, self._dtype = torch.device(plan.device), DTYPES[plan.dtype]
        self.heads, self.groups = text.num_attention_heads, text.num_key_value_heads
        self.dim = getattr(text, "head_dim", None) or text.hidden_size // self.heads

    def random(self, *sizes: int) -> torch.Tensor:
        """Normally distributed numbers."""
        return torch.randn(*sizes, device=self._device, dtype=self._dtype)

    def bytes_of(self, x: torch.Tensor) -> int:
        """The bytes of a tensor."""
        return x.numel() * x.element_size()

    def decode(self, rows: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, DecodeStep]:
        """Requests with prompts of the run's length, their pages in no order."""
        each = -(-self._plan.prompt // self._page)
        sizes = (1 + rows * each, self._page, self.groups, self.dim)
        pages = torch.randperm(rows * each, device=self._device).view(rows, each) + 1
        lengths = torch.full((rows,), self._plan.prompt, device=self._device, dtype=torch.int32)
        last = (self._plan.prompt - 1) % self._page
        step = DecodeStep(pages[:, -1] * self._page + last, pages.int(), lengths)
        query = self.random(rows, self.heads, self.dim)
        return query, self.random(*sizes), self.random(*sizes), step

    def prompt(self, requests: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, PromptStep]:
        """Whole prompts of the run's length."""
        length = self._plan.prompt
        starts = [length * number for number in range(requests + 1)]
        on_device = torch.tensor(starts, device=self._device, dtype=torch.int32)
        slots = torch.arange(starts[-1], device=self._device)
        step = PromptStep(slots, on_device, on_device, (length, length), None, (starts, starts))
        query = self.random(starts[-1], self.heads, self.dim)
        key, value = (self.random(starts[-1], self.groups, self.dim) for _ in range(2))
        return query, key, value, step


def _timed(name: str, rows: int, call: Callable[[], object], moved: int, plan: Plan) -> Record:
    """The shortest of many times of a call that moves so many bytes at the least."""
    seconds = best_seconds(call, plan.device, seconds=0.3)
    record: Record = {"kernel": name, "rows": rows, "ms": 1000 * seconds}
    return {**record, "bytes_per_s": moved / seconds} if moved else record


def _page(plan: Plan) -> int:
    return PAGES_OF[plan.kind]
