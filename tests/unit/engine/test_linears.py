"""A packed weight gives the product of the plain one."""

import pytest
import torch
from torch import nn
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaMLP

from worker.engine.model import linears
from worker.engine.model.linears import PackedLinear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 8, 33, 256])
def test_every_number_of_rows(rows: int, bias: bool) -> None:
    model = nn.Sequential(nn.Linear(24, 40, bias=bias))
    x = torch.randn(1, rows, 24)
    with torch.no_grad():
        wanted = model(x)
        linears.pack(model)
        assert isinstance(model[0], PackedLinear)
        torch.testing.assert_close(model(x), wanted)
        assert model(x).is_contiguous()


def test_layers_however_deep_are_packed() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(8, 8), nn.ReLU()), nn.Linear(8, 4))
    linears.pack(model)
    assert not any(isinstance(module, nn.Linear) for module in model.modules())


def test_a_gate_is_activated_as_it_is_multiplied() -> None:
    config = LlamaConfig(hidden_size=24, intermediate_size=40, num_attention_heads=2)
    layer = LlamaMLP(config)
    x = torch.randn(1, 5, 24)
    with torch.no_grad():
        wanted = layer(x)
        linears.pack(layer)
        torch.testing.assert_close(layer(x), wanted)
    assert isinstance(layer.act_fn, nn.Identity)


def test_quantised_and_half_precision_layers_are_left_alone() -> None:
    model = nn.Sequential(nn.Linear(8, 8).bfloat16())
    linears.pack(model)
    assert type(model[0]) is nn.Linear
