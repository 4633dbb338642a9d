"""Rotation, norm and gated activation of single tokens, against the same in float64."""

import pytest
import torch
from torch.nn.functional import silu

from worker.engine.attention.triton_elementwise import gated, norm, rotate_and_store

EXACT = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def close(given: torch.Tensor, wanted: torch.Tensor) -> None:
    within = EXACT[given.dtype]
    torch.testing.assert_close(given.double(), wanted, atol=within, rtol=within)


@pytest.mark.parametrize("dtype", EXACT, ids=str)
@pytest.mark.parametrize(
    ("heads", "groups", "dim"), [(4, 2, 64), (14, 2, 128), (5, 5, 80), (20, 20, 96)]
)
def test_rotation(heads: int, groups: int, dim: int, dtype: torch.dtype) -> None:
    torch.manual_seed(heads)
    given = torch.randn(3, heads + 2 * groups, dim).to(dtype)
    angles = torch.rand(3, dim // 2) * 6
    slots = torch.tensor([9, 4, 8])
    keys, values = (torch.full((3, 4, groups, dim), torch.nan, dtype=dtype) for _ in range(2))
    qkv = given.clone()
    rotate_and_store(qkv, angles.cos(), angles.sin(), slots, keys, values, heads)
    first, second = given.double()[:, : heads + groups].chunk(2, dim=-1)
    cos, sin = angles.double().cos().unsqueeze(1), angles.double().sin().unsqueeze(1)
    turned = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    close(qkv[:, : heads + groups], turned)
    assert torch.equal(qkv[:, heads + groups :], given[:, heads + groups :])
    for cells, new in ((keys, qkv[:, heads:-groups]), (values, given[:, -groups:])):
        flat = cells.flatten(0, 1)
        assert torch.equal(flat[slots], new)
        flat[slots] = torch.nan
        assert flat.isnan().all()


@pytest.mark.parametrize("dtype", EXACT, ids=str)
@pytest.mark.parametrize("hidden", [64, 5120, 7168])
def test_norm(hidden: int, dtype: torch.dtype) -> None:
    torch.manual_seed(hidden)
    x = (torch.randn(3, hidden) * torch.tensor([[1e-3], [1.0], [90.0]])).to(dtype)
    weight = torch.randn(hidden).to(dtype)
    wide = x.double()
    wanted = wide / (wide.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * weight.double()
    close(norm(x, weight, 1e-5), wanted)


def test_norm_of_rows_that_are_parts_of_wider_ones() -> None:
    x = torch.randn(3, 100)
    assert torch.equal(
        norm(x[:, :64], torch.ones(64), 1e-5), norm(x[:, :64].contiguous(), torch.ones(64), 1e-5)
    )


def test_norm_of_a_row_of_zeros_is_zeros() -> None:
    assert not norm(torch.zeros(2, 64), torch.ones(64), 1e-5).any()


@pytest.mark.parametrize("dtype", EXACT, ids=str)
@pytest.mark.parametrize("width", [24, 1024, 2500])
def test_gated_activation(width: int, dtype: torch.dtype) -> None:
    torch.manual_seed(width)
    gate_up = (torch.randn(3, 2 * width) * 4).to(dtype)
    gate, up = gate_up.double().chunk(2, dim=-1)
    close(gated(gate_up), silu(gate) * up)


def test_gated_activation_rounds_where_two_operators_would() -> None:
    gate_up = torch.randn(3, 256).to(torch.float16)
    gate, up = gate_up.chunk(2, dim=-1)
    assert torch.equal(gated(gate_up), silu(gate) * up)
