"""The plan of a GPU's memory counts what is really there: held to tensors without memory, at the
sizes of the released models."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchao.quantization import quantize_
from torchao.utils import get_model_size_in_bytes
from transformers import LlavaNextForConditionalGeneration

from bench.model import configuration
from bench.shape import MISTRAL_7B, VICUNA_7B, VICUNA_13B, YI_34B, Shape
from worker.engine.attention import reference
from worker.engine.attention.kernels import PromptStep
from worker.engine.attention.reference import Reference
from worker.engine.limits import Limits, key_shape
from worker.engine.memory import SMALLEST_STEP, plan
from worker.engine.model import quantization
from worker.engine.model.decoder import Layer
from worker.engine.model.description import tiling_of
from worker.engine.model.embedding import PictureEmbedding
from worker.engine.model.fp8 import Fp8Linear
from worker.engine.model.nf4 import Nf4Linear
from worker.engine.model.quantization import Quantize
from worker.engine.vision.tower import _drop_layers_that_nobody_sees

GIB = 2**30
RELEASED = {"7b-mistral": MISTRAL_7B, "7b-vicuna": VICUNA_7B, "13b": VICUNA_13B, "34b": YI_34B}
released = pytest.mark.parametrize("shape", RELEASED.values(), ids=RELEASED)


@cache
def without_memory(shape: Shape) -> Any:
    """A whole model in bfloat16 of which only the sizes are there."""
    with torch.device("meta"):
        return LlavaNextForConditionalGeneration(configuration(shape)).bfloat16().eval()


def a_layer(shape: Shape) -> Any:
    """One layer of its language model, to take apart."""
    config = configuration(shape)
    config.text_config.num_hidden_layers = 1
    with torch.device("meta"):
        model = LlavaNextForConditionalGeneration(config).bfloat16().eval()
    return model.model.language_model.layers[0]


class Live(TorchDispatchMode):
    """Counts the bytes of what operators made and is still held; `peak` is the most there were."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._held: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operator."""
        out = func(*args, **(kwargs or {}))
        given = _storages((args, kwargs))
        for key, storage in _storages(out).items():
            if key not in given:  # a view of what was there makes nothing
                self._held[key] = StorageWeakRef(storage), storage.nbytes()
        self._held = {key: held for key, held in self._held.items() if not held[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self._held.values()))
        return out


def _storages(tree: Any) -> dict[int, torch.UntypedStorage]:
    found = [x.untyped_storage() for x in tree_leaves(tree) if isinstance(x, torch.Tensor)]
    return {storage._cdata: storage for storage in found}


class Fused:
    """Kernels that take what a GPU's take: each makes its result and nothing beside."""

    def rotate_and_store(
        self, qkv: torch.Tensor, *given: Any
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Parts of what was given."""
        *_, keys, _, heads = given
        query, key, value = qkv.tensor_split([heads, heads + keys.shape[2]], dim=1)
        return query, key, value

    def prompt(self, query: torch.Tensor, *_: Any) -> torch.Tensor:
        """As large as the queries."""
        return torch.empty_like(query)

    def norm(self, x: torch.Tensor, *_: Any) -> torch.Tensor:
        """As large as what was given."""
        return torch.empty_like(x)

    def gated(self, gate_up: torch.Tensor) -> torch.Tensor:
        """Half as large."""
        return gate_up.new_empty(len(gate_up), gate_up.shape[1] // 2)


@pytest.fixture(autouse=True, scope="module")
def tables() -> None:
    """bitsandbytes keeps its tables where it first needed them: not where there is no memory."""
    Nf4Linear(nn.Linear(64, 1))


def int8(linear: nn.Linear) -> nn.Module:
    module = nn.Sequential(linear)
    quantize_(module, quantization._config("int8"))
    return module[0]


FORMS: dict[Quantize, Callable[[nn.Linear], nn.Module]] = {
    "none": lambda linear: linear,
    "int8": int8,
    "fp8": Fp8Linear.of,
    "nf4": Nf4Linear,
}


@released
@pytest.mark.parametrize("mode", FORMS)
def test_linear_layers_are_counted_as_they_are_held(shape: Shape, mode: Quantize) -> None:
    for linear in [m for m in a_layer(shape).modules() if isinstance(m, nn.Linear)]:
        planned = quantization.linear_bytes(linear, mode, 2)
        assert planned == get_model_size_in_bytes(nn.Sequential(FORMS[mode](linear)))


@released
def test_int4_is_counted_with_what_its_kernel_fills_up(shape: Shape) -> None:
    """Its form is made on a GPU alone; torchao's description of it is what is counted here."""
    config = configuration(shape).text_config
    with torch.device("meta"):
        linear = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
    inputs = -(-config.intermediate_size // 1024) * 1024
    numbers, scales = config.hidden_size * inputs // 2, config.hidden_size * inputs // 128 * 4
    assert quantization.linear_bytes(linear, "int4", 2) == numbers + scales


@released
def test_all_weights_are_counted(shape: Shape) -> None:
    whole = plan(configuration(shape), "none", torch.bfloat16)
    held = get_model_size_in_bytes(without_memory(shape))
    assert held - 8192 < whole.weights <= held  # but for positions and frequencies


@released
def test_the_table_of_pictures_is_the_engines(shape: Shape) -> None:
    model = without_memory(shape)
    most = tiling_of(model.config).max_tokens
    rows = Limits(slots=7).resolved(model, shape.context, most).picture_tokens
    table = PictureEmbedding(model.get_input_embeddings(), rows).table
    assert plan(model.config, "none", torch.bfloat16, slots=7).pictures == table.nbytes


@released
@pytest.mark.parametrize("mode", ["none", "int8", "nf4"])
@pytest.mark.parametrize("slow", [False, True])
def test_a_step_takes_what_is_planned(
    shape: Shape, mode: Quantize, slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a whole layer, in the forms that make its weights anew and those that do not."""
    # Scores of attention are counted by themselves, in the next test.
    monkeypatch.setattr(reference, "scaled_dot_product_attention", lambda q, *_, **__: q.clone())
    config = configuration(shape)
    planned = plan(config, mode, torch.bfloat16, slow_attention=slow)
    scores = 8 * shape.heads * planned.job_tokens if slow else 0
    most = TOKENS * (planned.step_token - scores) + planned.step_fixed
    peak = read(shape, mode, Reference() if slow else Fused())
    # What a weight is made anew in and the most of all else are not there at the same moment.
    assert (0.99 if mode == "none" else 0.6) * most < peak <= 1.001 * most


@released
def test_plain_attention_takes_no_more_than_is_planned(shape: Shape) -> None:
    """torch has single operators for tensors without memory, as for groups on an old GPU."""
    planned = plan(configuration(shape), "none", torch.bfloat16, slow_attention=True)
    peak = read(shape, "none", Reference())
    assert peak <= TOKENS * planned.step_token


TOKENS = 2048


def read(shape: Shape, mode: Quantize, kernels: Any) -> int:
    """The most bytes that a layer holds at once when it reads a prompt of so many tokens."""
    layer, config = a_layer(shape), configuration(shape).text_config
    for parent in list(layer.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear):
                setattr(parent, name, FORMS[mode](child))
    lean, (groups, dim) = Layer(layer, kernels), key_shape(config)
    empty = partial(torch.empty, device="meta")
    cells = empty(TOKENS // 256, 256, groups, dim, dtype=torch.bfloat16)
    turns = empty(TOKENS, dim // 2), empty(TOKENS, dim // 2)
    step = PromptStep(
        slots=empty(TOKENS, dtype=torch.int64),
        starts=empty(2, dtype=torch.int32),
        key_starts=empty(2, dtype=torch.int32),
        longest=(TOKENS, TOKENS),
        reads=None,
        on_host=([0, TOKENS], [0, TOKENS]),
    )
    with torch.inference_mode(), Live() as live:
        x = empty(TOKENS, config.hidden_size, dtype=torch.bfloat16)
        lean(x, turns, step, (cells, cells))
    peak: int = live.peak
    return peak


def test_a_pass_of_the_vision_tower_takes_what_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    # Attention by one kernel, as on a GPU, where torch takes single operators for these tensors.
    monkeypatch.setattr(
        "torch.nn.functional.scaled_dot_product_attention", lambda q, *_, **__: torch.empty_like(q)
    )
    config = configuration(MISTRAL_7B)
    with torch.device("meta"):
        model = LlavaNextForConditionalGeneration(config).bfloat16().eval()
    layer = _drop_layers_that_nobody_sees(model)
    planned = plan(config, "none", torch.bfloat16)
    with torch.inference_mode(), Live() as live:
        pixels = torch.empty(planned.picture_tiles, 3, 336, 336, device="meta")
        sizes = torch.tensor([[672, 672]])
        model.get_image_features(pixels, image_sizes=sizes, vision_feature_layer=layer)
    assert live.peak == pytest.approx(planned.picture_tiles * planned.tile, rel=0.01)


@released
@pytest.mark.parametrize("mode", ["none", "int8", "fp8", "int4", "nf4"])
def test_with_what_is_needed_one_job_fits_and_with_less_it_does_not(
    shape: Shape, mode: Quantize
) -> None:
    planned = plan(configuration(shape), mode, torch.bfloat16)

    def fits(free: int) -> bool:
        tokens, tiles = planned.step_tokens(free), planned.tiles_per_pass(free)
        step = max(tokens * planned.step_token + planned.step_fixed, tiles * planned.tile)
        return planned.cached_tokens(free) >= planned.job_tokens and step <= 0.2 * planned.spare(
            free
        )

    assert fits(planned.needed + 1024)
    assert not fits(planned.needed - 1024)
    assert planned.step_tokens(planned.needed) >= SMALLEST_STEP


def test_a_large_gpu_has_the_engines_largest_steps() -> None:
    planned = plan(configuration(MISTRAL_7B), "none", torch.bfloat16)
    assert planned.step_tokens(139 * GIB) == 8192
    assert planned.tiles_per_pass(139 * GIB) == 64
