"""Host time of decode steps, of wall clock and of processor."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median, quantiles

import torch

from bench.host.idle import idle_batch

PROMPT = 2400
"""Tokens, as of a 640x480 picture in the released 7B model."""
ANSWER = 320
_WARM = 8


@dataclass(frozen=True)
class HostTime:
    """Milliseconds of a decode step with so many requests: the median and the 95th percentile of
    the wall clock, and the median of this thread's processor time, which other processes disturb
    less."""

    requests: int
    median_ms: float
    p95_ms: float
    cpu_ms: float


def host_time(requests: int, steps: int) -> HostTime:
    """Measure `steps` decode steps with so many requests on one thread; steps at most ANSWER."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with idle_batch(requests, PROMPT, ANSWER) as batch:
            for _ in range(_WARM):
                batch.step()
            walls, processor = [], []
            for _ in range(steps):
                wall, cpu = time.perf_counter(), time.thread_time()
                batch.step()
                walls.append(1000 * (time.perf_counter() - wall))
                processor.append(1000 * (time.thread_time() - cpu))
    finally:
        torch.set_num_threads(threads)
    p95 = quantiles(walls, n=20, method="inclusive")[-1] if steps > 1 else walls[0]
    return HostTime(requests, median(walls), p95, median(processor))
