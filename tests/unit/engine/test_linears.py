"""A product turned round is the same product."""

import pytest
import torch
from torch import nn

from worker.engine import linears
from worker.engine.linears import FEWEST, MOST, NarrowLinear


@pytest.mark.parametrize("rows", [1, FEWEST, MOST, MOST + 1])
def test_every_number_of_rows(rows: int) -> None:
    layer = nn.Linear(24, 40, bias=False)
    x = torch.randn(1, rows, 24)
    wanted = layer(x)
    linears.use(nn.Sequential(layer))
    assert isinstance(layer, NarrowLinear)
    torch.testing.assert_close(layer(x), wanted)
    assert layer(x).shape == wanted.shape


def test_a_layer_with_a_bias_is_left_as_it_is() -> None:
    layer = NarrowLinear(8, 8)
    x = torch.randn(5, 8)
    torch.testing.assert_close(layer(x), x @ layer.weight.t() + layer.bias)


def test_quantised_and_half_precision_layers_are_left_alone() -> None:
    model = nn.Sequential(nn.Linear(8, 8).bfloat16())
    linears.use(model)
    assert type(model[0]) is nn.Linear
