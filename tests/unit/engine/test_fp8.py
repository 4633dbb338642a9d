"""Linear layers in float8: nearly the same products, rows of zeros included."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from tests.unit.engine.attention.operators import Refused, scaled_mm
from worker.engine import ModelError
from worker.engine.model import quantization
from worker.engine.model.fp8 import FLOAT8, Fp8Linear, rows_to_float8
from worker.engine.model.projections import projection


@pytest.fixture(params=["torch", "stand-in"])
def product(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The product by torch's emulation on a CPU, and by what refuses all that a GPU refuses."""
    if request.param == "stand-in":
        monkeypatch.setattr(torch, "_scaled_mm", scaled_mm)
    name: str = request.param
    return name


def layer(inputs: int = 64, outputs: int = 32, bias: bool = False) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs, bias=bias, dtype=torch.bfloat16).requires_grad_(False)


def near(given: torch.Tensor, wanted: torch.Tensor) -> bool:
    return bool((given - wanted).float().norm() < 0.06 * wanted.float().norm())


@pytest.mark.usefixtures("product")
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(8, 64), (1, 64), (2, 3, 64)])
def test_products_are_nearly_the_same(shape: tuple[int, ...], bias: bool) -> None:
    plain = layer(bias=bias)
    x = torch.randn(*shape, dtype=torch.bfloat16)
    output = Fp8Linear.of(plain)(x)
    assert output.dtype == torch.bfloat16
    assert output.shape == (*shape[:-1], 32)
    assert near(output, plain(x))


@pytest.mark.usefixtures("product")
def test_a_row_of_zeros_gives_zeros_and_leaves_the_others_alone() -> None:
    """A row that pads a captured graph: by a scale of zero it would become NaN."""
    x = torch.randn(3, 64, dtype=torch.bfloat16)
    x[1] = 0
    output = Fp8Linear.of(layer())(x)
    assert not output[1].any()
    assert near(output[::2], layer()(x[::2]))


def test_rows_are_scaled_apart() -> None:
    x = torch.randn(3, 64) * torch.tensor([[1e-6], [1.0], [1e4]])
    numbers, scales = rows_to_float8(x)
    assert numbers.dtype == FLOAT8
    assert numbers.float().abs().amax(dim=1).tolist() == [448.0] * 3
    torch.testing.assert_close(numbers.float() * scales, x, rtol=0.07, atol=0.0)


@pytest.mark.usefixtures("product")
@pytest.mark.parametrize("bias", [False, True])
def test_layers_side_by_side_multiply_as_each_does(bias: bool) -> None:
    """Queries, keys and values of a layer are quantised and multiplied once."""
    parts = [Fp8Linear.of(layer(64, outputs, bias)) for outputs in (32, 16, 16)]
    x = torch.randn(5, 64, dtype=torch.bfloat16)
    together = projection(*parts)
    assert isinstance(together, Fp8Linear)
    assert torch.equal(together(x), torch.cat([part(x) for part in parts], dim=-1))


def test_a_residual_is_added() -> None:
    part = Fp8Linear.of(layer(64, 64))
    x = torch.randn(5, 64, dtype=torch.bfloat16)
    assert torch.equal(projection(part).plus(x, x), x + part(x))


def test_weights_take_half_of_bfloat16() -> None:
    plain = layer(256, 256)
    held = Fp8Linear.of(plain)
    size = sum(x.numel() * x.element_size() for x in held.buffers())
    assert size < 0.51 * plain.weight.numel() * 2


def test_every_linear_layer_of_the_language_model_is_replaced_and_nothing_else() -> None:
    inner = nn.Sequential(layer(), nn.LayerNorm(32), nn.Sequential(layer(32, 16)))
    head = layer(16, 16)
    model: Any = SimpleNamespace(
        model=SimpleNamespace(language_model=inner), lm_head=head, dtype=torch.bfloat16
    )
    quantization.quantize(model, "fp8", "cpu")
    kinds = [type(m) for m in inner.modules() if not list(m.children())]
    assert kinds == [Fp8Linear, nn.LayerNorm, Fp8Linear]
    assert type(model.lm_head) is nn.Linear


def test_a_layer_that_no_kernel_multiplies_is_refused() -> None:
    with pytest.raises(ModelError, match="24 by 32 numbers and fp8 needs multiples of 16"):
        Fp8Linear.of(layer(24, 32))


@pytest.mark.parametrize(
    ("broken", "cause"),
    [
        (lambda *_, **__: torch.full((5, 64), torch.nan), "are wrong on cpu"),
        (lambda *_, **__: 1 / 0, "cannot be used on cpu .ZeroDivisionError"),
    ],
)
def test_products_are_tried_before_a_layer_is_replaced(
    broken: Any, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "_scaled_mm", broken)
    inner = nn.Sequential(layer())
    model: Any = SimpleNamespace(model=SimpleNamespace(language_model=inner), dtype=torch.bfloat16)
    with pytest.raises(ModelError, match=f"{cause}.*use int8"):
        quantization.quantize(model, "fp8", "cpu")
    assert type(inner[0]) is nn.Linear


def test_the_stand_in_refuses_scales_that_a_gpu_refuses() -> None:
    numbers, scales = rows_to_float8(torch.randn(16, 32))
    with pytest.raises(Refused, match="scale must have shape"):
        scaled_mm(numbers, numbers.t(), scales.t(), scales.t(), out_dtype=torch.bfloat16)
