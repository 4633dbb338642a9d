"""Where the time of one step goes: the device, the host, the kernels, and what lies between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from bench.gpu import steps
from bench.gpu.journal import Record
from bench.gpu.plan import State
from worker.engine.batch.batch import Batch

_MEASURED = 20
_PROFILED = 5
_WARM = 3
_TOP = 30


@dataclass(frozen=True)
class Spent:
    """Milliseconds of one step, on average over some: from the first launch until the device is
    done, by the device's own events, and of this thread's processor."""

    wall_ms: float
    device_ms: float | None
    host_ms: float


def measure(state: State) -> Iterator[Record]:
    """Take a prompt step and steps that generate, at each size of the batch, apart."""
    engine, plan = state.needs_engine(), state.plan
    batch = steps.batch_of(engine)
    yield from _reading(batch, steps.step_tokens(engine), state)
    answer = 2 * (_WARM + _MEASURED + _PROFILED) + 1
    for size in plan.batches:
        if size > plan.slots or not batch.fits(size * (plan.prompt + answer)):
            yield {"step": "generate", "requests": size, "skipped": "it does not fit"}
            continue
        with steps.requests(batch, size, plan.prompt, answer, seed=size) as added:
            began = time.perf_counter()
            read = steps.read_prompts(batch, added)
            _finish(plan.device)
            yield {
                "step": "read before",
                "requests": size,
                "steps": read,
                "seconds": time.perf_counter() - began,
            }
            for _ in range(_WARM):
                batch.step()
            spent = spend(batch.step, _MEASURED, plan.device)
            yield {"step": "generate", "requests": size, **vars(spent)}
            yield {
                "step": "generate",
                "requests": size,
                **kernels_of(batch.step, _PROFILED, plan.device),
            }
        batch.forget_prefixes()


def _reading(batch: Batch, tokens: int, state: State) -> Iterator[Record]:
    """A step full of whole prompts, as many as fit into it."""
    plan = state.plan
    count = max(1, min(plan.slots, tokens // plan.prompt))
    length = min(plan.prompt, tokens)
    for doing in ("warm", "measured", "profiled"):
        seed = 1000 + len(doing)
        with steps.requests(batch, count, length, 2, seed) as added:

            def read(added: list[Any] = added) -> None:
                steps.read_prompts(batch, added)

            what = {"step": "read", "requests": count, "tokens": count * length}
            if doing == "profiled":
                yield {**what, **kernels_of(read, 1, plan.device)}
            else:
                spent = spend(read, 1, plan.device)
                if doing == "measured":
                    yield {**what, **vars(spent)}
        batch.forget_prefixes()


def spend(step: Callable[[], object], times: int, device: str) -> Spent:
    """Take some steps one after another and return what one takes."""
    on_cuda = torch.device(device).type == "cuda"
    _finish(device)
    if on_cuda:
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
    wall, processor = time.perf_counter(), time.thread_time()
    for _ in range(times):
        step()
    host = time.thread_time() - processor
    if on_cuda:
        last.record()
    _finish(device)
    wall = time.perf_counter() - wall
    device_ms = first.elapsed_time(last) / times if on_cuda else None
    return Spent(1000 * wall / times, device_ms, 1000 * host / times)


def kernels_of(step: Callable[[], object], times: int, device: str) -> Record:
    """Profile some steps: milliseconds of one step by kernel, the longest first, the sum of all,
    and what of the wall clock no kernel covers; on a CPU operators stand for kernels."""
    on_cuda = torch.device(device).type == "cuda"
    kinds = [ProfilerActivity.CUDA] if on_cuda else [ProfilerActivity.CPU]
    _finish(device)
    with profile(activities=kinds) as profiler:
        began = time.perf_counter()
        for _ in range(times):
            step()
        _finish(device)
        wall = 1000 * (time.perf_counter() - began) / times
    spent = "self_device_time_total" if on_cuda else "self_cpu_time_total"
    found = sorted(
        (
            (event.key, getattr(event, spent) / 1000 / times, event.count / times)
            for event in profiler.key_averages()
        ),
        key=lambda one: -one[1],
    )
    busy = sum(milliseconds for _, milliseconds, _ in found)
    return {
        "profiled_wall_ms": wall,
        "kernels_ms": busy,
        "gaps_ms": max(0.0, wall - busy),
        "launches": sum(count for *_, count in found),
        "top": [[name[:120], round(ms, 4), round(n, 1)] for name, ms, n in found[:_TOP]],
    }


def _finish(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
