"""What this machine can do at most, measured: arithmetic and memory traffic."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

_SECONDS = 1.0
_MATRIX = {"cpu": 2048, "cuda": 8192}
_COPIED = {"cpu": 1 << 26, "cuda": 1 << 30}
"""Elements of a copy: far more than any cache holds."""


@dataclass(frozen=True)
class Ceilings:
    """Floating-point operations a second of a large matrix product, bytes a second, read and
    written, of a large copy or read, whichever is faster, and operations a second of a matrix
    product in 8 bits, where there is one."""

    flops: float
    bytes: float
    in_8_bits: float | None = None

    @property
    def flops_8(self) -> float:
        """Operations a second in 8 bits; those of wider numbers where there is no such product."""
        return self.flops if self.in_8_bits is None else self.in_8_bits

    def __str__(self) -> str:
        told = f"{self.flops / 1e9:,.0f} GFLOP/s, {self.bytes / 1e9:,.1f} GB/s"
        return told + (f", {self.in_8_bits / 1e9:,.0f} in 8 bits" if self.in_8_bits else "")


def measure(device: str = "cpu", dtype: torch.dtype = torch.float32) -> Ceilings:
    """Measure the ceilings of a device for numbers of a type, in a few seconds."""
    kind = torch.device(device).type
    side = _MATRIX[kind]
    left = torch.randn(side, side, device=device, dtype=dtype)
    right = torch.randn(side, side, device=device, dtype=dtype)
    product = 2 * side**3 / best_seconds(lambda: left @ right, device)
    source = torch.randn(_COPIED[kind] // dtype.itemsize, device=device, dtype=dtype)
    target = torch.empty_like(source)
    size = source.numel() * dtype.itemsize
    copied = 2 * size / best_seconds(lambda: target.copy_(source), device)
    matrix, vector = source.view(-1, 1 << 12), source[: 1 << 12]
    read = size / best_seconds(lambda: matrix @ vector, device)
    return Ceilings(product, max(copied, read))


def best_seconds(work: Callable[[], object], device: str, seconds: float = _SECONDS) -> float:
    """Return the shortest time that some work took, repeated for about so many seconds."""
    work()
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < seconds:
        synchronize(device)
        started = time.perf_counter()
        work()
        synchronize(device)
        best = min(best, time.perf_counter() - started)
    return best


def synchronize(device: str) -> None:
    """Wait for what a device was given to do."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
