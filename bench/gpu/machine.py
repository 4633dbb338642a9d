"""What the run is on: versions, the device, and what it can do at most."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import torch

from bench.ceilings import best_seconds, measure
from bench.gpu.journal import Record
from bench.gpu.plan import DTYPES, State
from bench.machine import machine

_PACKAGES = ("torch", "triton", "transformers", "torchao", "numba", "vllm", "flash-attn", "mslk")


def versions(state: State) -> Iterator[Record]:
    """Tell machine, device and versions."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    yield {"machine": machine(), "versions": found}
    if state.plan.on_cuda:
        properties = torch.cuda.get_device_properties(state.plan.device)
        free, total = torch.cuda.mem_get_info(state.plan.device)
        yield {
            "device": properties.name,
            "capability": [properties.major, properties.minor],
            "multiprocessors": properties.multi_processor_count,
            "memory_bytes": total,
            "free_bytes": free,
            "cuda": torch.version.cuda,
        }


def ceilings(state: State) -> Iterator[Record]:
    """Measure matrix products, in 8 bits too where the device has them, and memory."""
    dtype, device = DTYPES[state.plan.dtype], state.plan.device
    found = measure(device, dtype)
    state.ceilings[state.plan.dtype] = found
    yield {"numbers": state.plan.dtype, **vars(found)}
    if state.plan.on_cuda:
        fast = vars(found) | {"in_8_bits": _flops_in_8_bits(device)}
        state.ceilings["fp8"] = type(found)(**fast)
        yield {"numbers": "fp8", **fast}


def _flops_in_8_bits(device: str, side: int = 8192) -> float:
    """Operations a second of a matrix product in float8, scaled by row as the engine's are."""
    left = torch.randn(side, side, device=device).to(torch.float8_e4m3fn)
    right = torch.randn(side, side, device=device).to(torch.float8_e4m3fn).t()
    rows, columns = (torch.ones(size, device=device) for size in ((side, 1), (1, side)))

    def product() -> torch.Tensor:
        return torch._scaled_mm(left, right, rows, columns, out_dtype=torch.bfloat16)

    return 2 * side**3 / best_seconds(product, device)
