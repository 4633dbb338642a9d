"""Linear layers in four bits: nearly the same products, in a quarter of the memory."""

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from demo.model import WEIGHTS
from tests.unit.engine import rehearsal
from tests.unit.engine.conftest import ask, paint
from tests.unit.engine.test_rehearsal import Capturable
from worker.engine import Engine, Limits, ModelError
from worker.engine.batch import graphs
from worker.engine.model import nf4, quantization
from worker.engine.model.nf4 import Nf4Linear
from worker.engine.model.projections import projection

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def layer(
    inputs: int = 128, outputs: int = 32, bias: bool = False, dtype: torch.dtype = torch.bfloat16
) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs, bias=bias, dtype=dtype).requires_grad_(False)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(8, 128), (1, 128), (2, 3, 128)])
def test_products_are_nearly_the_same(
    shape: tuple[int, ...], bias: bool, dtype: torch.dtype
) -> None:
    plain = layer(bias=bias, dtype=dtype)
    x = torch.randn(*shape, dtype=dtype)
    output = Nf4Linear(plain)(x)
    assert output.dtype == dtype
    assert output.shape == (*shape[:-1], 32)
    wanted = plain(x).float()
    assert (output.float() - wanted).norm() < 0.13 * wanted.norm()


def test_a_weight_is_one_of_sixteen_numbers_of_its_block() -> None:
    weight = Nf4Linear(layer(64, 32, dtype=torch.float32))(torch.eye(64)).t()
    for row in weight:
        assert len(row.unique()) <= 16
        assert row.unique().numel() > 8


def test_weights_take_little_more_than_a_quarter_of_bfloat16() -> None:
    held = Nf4Linear(layer(1024, 1024))
    size = sum(x.numel() * x.element_size() for x in held.buffers())
    assert size == 1024 * 1024 // 2 + 1024 * 1024 // 64 + 4 * 64 + 4 * 256 + 4


def test_layers_side_by_side_multiply_as_each_does_and_a_residual_is_added() -> None:
    parts = [Nf4Linear(layer(128, outputs)) for outputs in (64, 32, 32)]
    x = torch.randn(5, 128, dtype=torch.bfloat16)
    together = projection(*parts)
    apart = torch.cat([part(x) for part in parts], dim=-1)
    assert torch.equal(together(x), apart)
    assert torch.equal(together.plus(x, x), x + apart)


def test_every_linear_layer_of_the_language_model_is_replaced_and_nothing_else() -> None:
    inner = nn.Sequential(layer(128, 64), nn.LayerNorm(64), nn.Sequential(layer(64, 16)))
    head = layer(16, 16)
    model: Any = SimpleNamespace(
        model=SimpleNamespace(language_model=inner), lm_head=head, dtype=torch.bfloat16
    )
    quantization.quantize(model, "nf4", "cpu")
    kinds = [type(m) for m in inner.modules() if not list(m.children())]
    assert kinds == [Nf4Linear, nn.LayerNorm, Nf4Linear]
    assert type(model.lm_head) is nn.Linear


def test_a_product_can_be_captured_in_a_graph() -> None:
    """Rehearsed: no operator of it has the host wait, and a replay reads what is then there."""
    part, x = Nf4Linear(layer()), torch.zeros(4, 128, dtype=torch.bfloat16)
    product = torch.empty(4, 32, dtype=torch.bfloat16)

    def step() -> None:
        product.copy_(part(x))

    with torch.inference_mode():
        replay, _ = rehearsal.capture(step, None)
        x.copy_(torch.randn(4, 128))
        replay()
        assert torch.equal(product, part(x))
    assert product.any()


def test_a_whole_engine_answers_in_captured_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rehearsed on a CPU, as the other captured steps are."""
    requests = [
        ask(paint(100, 80, i), "What colour is the light?", ignore_eos=False) for i in range(5)
    ]
    limits = Limits(slots=4)
    plain = Engine.load(WEIGHTS, device="cpu", quantize="nf4", limits=limits)
    wanted = [answer.result().token_ids for answer in map(plain.submit, requests)]
    plain.close()
    monkeypatch.setattr("worker.engine.engine.kernels_for", lambda *_, **__: Capturable())
    monkeypatch.setattr(graphs, "capture", rehearsal.capture)
    captured = Engine.load(WEIGHTS, device="cpu", quantize="nf4", limits=limits)
    said = [answer.result().token_ids for answer in map(captured.submit, requests)]
    captured.close()
    assert said == wanted


def test_a_layer_that_is_not_whole_blocks_is_refused() -> None:
    with pytest.raises(ModelError, match="96 inputs and nf4 needs multiples of 64; use int8"):
        Nf4Linear(layer(96, 32))


@pytest.mark.parametrize(
    ("broken", "cause"),
    [
        (lambda x, *_, **__: torch.zeros(len(x), 256), "are wrong on cpu"),
        (lambda *_, **__: 1 / 0, "cannot be used on cpu .division by zero"),
    ],
)
def test_products_are_tried_before_a_layer_is_replaced(
    broken: Any, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nf4.bitsandbytes()
    monkeypatch.setattr(torch.ops.bitsandbytes, "gemm_4bit", broken)
    inner = nn.Sequential(layer())
    model: Any = SimpleNamespace(model=SimpleNamespace(language_model=inner), dtype=torch.bfloat16)
    with pytest.raises(ModelError, match=f"{cause}.*use int8"):
        quantization.quantize(model, "nf4", "cpu")
    assert type(inner[0]) is nn.Linear


def test_bitsandbytes_fetches_and_runs_no_kernel_of_a_hub() -> None:
    """It would, when it is imported, where the package `kernels` is installed."""
    program = (
        "import sys, types; from worker.engine.model import nf4; nf4.bitsandbytes();"
        "assert 'bitsandbytes.backends.cpu.ops' in sys.modules; import kernels"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.strip().splitlines()[-1].startswith("ModuleNotFoundError: import of kernels")
