"""Float8 numbers with a scale for each row, made in one kernel."""

import torch
import triton
import triton.language as tl

from worker.engine.model.fp8 import FLOAT8, LARGEST, LEAST_SCALE, Quantised

FITTING = 512
"""Numbers of a row for each warp of a program, which holds a whole row."""


def rows_to_float8(x: torch.Tensor) -> Quantised:
    """The same as worker.engine.model.fp8.rows_to_float8, for x with contiguous rows."""
    rows, width = x.shape
    numbers = torch.empty((rows, width), dtype=FLOAT8, device=x.device)
    scales = torch.empty((rows, 1), dtype=torch.float32, device=x.device)
    padded = triton.next_power_of_2(width)
    _rows_to_float8[(rows,)](
        x,
        numbers,
        scales,
        x.stride(0),
        width=width,
        padded=padded,
        largest=LARGEST,
        least=LEAST_SCALE,
        num_warps=min(max(padded // FITTING, 1), 16),
    )
    return numbers, scales


@triton.jit
def _rows_to_float8(
    x: "tl.tensor",
    numbers: "tl.tensor",
    scales: "tl.tensor",
    row: "tl.tensor",
    width: tl.constexpr,
    padded: tl.constexpr,
    largest: tl.constexpr,
    least: tl.constexpr,
) -> None:
    """One row, read once."""
    token = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, padded)
    real = lane < width
    wide = tl.load(x + token * row + lane, mask=real, other=0.0).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(wide), 0) / largest, least)
    scaled = tl.minimum(tl.maximum(wide / scale, -largest), largest)
    tl.store(numbers + token * width + lane, scaled.to(numbers.dtype.element_ty), mask=real)
    tl.store(scales + token, scale)
