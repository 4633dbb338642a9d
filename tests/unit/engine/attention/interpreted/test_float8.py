"""Rows made float8 in one kernel are those of plain torch.

The last step, from float32 to float8, is left out: where rounding reaches the next power of two the
interpreter gives half of it, and a GPU has an instruction of its own.
"""

import pytest
import torch

from worker.engine.model import fp8, triton_fp8


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the numbers in float32."""
    monkeypatch.setattr(triton_fp8, "FLOAT8", torch.float32)
    monkeypatch.setattr(fp8, "FLOAT8", torch.float32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("width", [64, 1000, 5120])
def test_rows(width: int, dtype: torch.dtype) -> None:
    torch.manual_seed(width)
    x = (torch.randn(4, width) * torch.tensor([[0.0], [1e-3], [1.0], [90.0]])).to(dtype)
    numbers, scales = triton_fp8.rows_to_float8(x)
    wanted, right = fp8.rows_to_float8(x)
    torch.testing.assert_close(scales, right)
    torch.testing.assert_close(numbers, wanted)
    assert not numbers[0].any()
    assert numbers.abs().max() <= fp8.LARGEST


def test_rows_that_are_parts_of_wider_ones() -> None:
    x = torch.randn(3, 100)
    numbers, scales = triton_fp8.rows_to_float8(x[:, :64])
    again, same = triton_fp8.rows_to_float8(x[:, :64].contiguous())
    assert torch.equal(numbers, again)
    assert torch.equal(scales, same)
