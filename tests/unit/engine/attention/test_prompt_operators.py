"""Prompts on a GPU: each torch accepts what its attention is asked, and answers right."""

from itertools import accumulate
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.unit.engine.attention.operators import (
    KEYWORDS,
    POSITIONAL,
    EfficientAttention,
    FlashAttention,
    Refused,
)
from tests.unit.engine.attention.sizes import MODELS
from worker.engine.attention import gpu
from worker.engine.attention.choice import kernels_for
from worker.engine.attention.gpu import Efficient, Flash, PromptAttention, check
from worker.engine.attention.kernels import PromptStep
from worker.engine.attention.reference import Reference
from worker.engine.attention.trial import Shape
from worker.engine.errors import ModelError

HEADS, GROUPS, DIM = 6, 2, 16

WAYS: dict[str, PromptAttention] = {
    "flash of torch 2.11": Flash(FlashAttention("2.11")),
    "flash of torch 2.13": Flash(FlashAttention("2.13")),
    "efficient": Efficient(EfficientAttention()),
}


def step_of(queries: list[int], keys: list[int], device: str = "cpu") -> PromptStep:
    starts, key_starts = [0, *accumulate(queries)], [0, *accumulate(keys)]
    return PromptStep(
        slots=torch.arange(sum(queries), device=device),
        starts=torch.tensor(starts, dtype=torch.int32, device=device),
        key_starts=torch.tensor(key_starts, dtype=torch.int32, device=device),
        longest=(max(queries), max(keys)),
        reads=None,
        on_host=(starts, key_starts),
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("queries", "keys"),
    [([7, 1, 5], [7, 1, 5]), ([3, 4], [9, 4]), ([1, 1, 1], [5, 1, 8]), ([1], [1])],
    ids=["whole", "behind a cached beginning", "one token each", "one token"],
)
def test_prompts(way: str, queries: list[int], keys: list[int]) -> None:
    torch.manual_seed(0)
    step = step_of(queries, keys)
    # As in a layer, they are parts of one tensor, and their rows are not side by side.
    qkv = torch.randn(sum(keys), HEADS + 2 * GROUPS, DIM).to(torch.bfloat16)
    query, key, value = qkv[: sum(queries), :HEADS], qkv[:, HEADS:-GROUPS], qkv[:, -GROUPS:]
    output = WAYS[way](query, key, value, step, 0.3)
    wanted = Reference().prompt(query.float(), key.float(), value.float(), step, 0.3)
    torch.testing.assert_close(output.float(), wanted, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", MODELS)
def test_a_whole_step_of_the_released_models(way: str, model: str) -> None:
    """Without memory: only shapes, strides and types are looked at."""
    shape = MODELS[model]
    rows = shape.heads + 2 * shape.groups
    qkv = torch.empty(8192, rows, shape.dim, dtype=torch.bfloat16, device="meta")
    query, key, value = qkv.tensor_split([shape.heads, shape.heads + shape.groups], dim=1)
    step = step_of([2400, 2400, 2400, 992], [2400, 2400, 2400, 992], device="meta")
    output = WAYS[way](query, key, value, step, shape.dim**-0.5)
    assert output.shape == (8192, shape.heads, shape.dim)


@pytest.mark.parametrize("version", KEYWORDS)
def test_a_call_without_starts_of_the_keys_is_refused(version: str) -> None:
    """As torch's signature allows it and its kernel does not: FlashAttention once never came on."""
    query, key = torch.zeros(2, HEADS, DIM).half(), torch.zeros(2, GROUPS, DIM).half()
    starts = torch.tensor([0, 1, 2], dtype=torch.int32)
    with pytest.raises(Refused, match="must be both set or both not set"):
        FlashAttention(version)(
            query, key, key, starts, None, 1, 1, 0.0, False, False, scale=1.0, window_size_left=-1
        )


def test_torch_2_11_refuses_what_came_later() -> None:
    with pytest.raises(TypeError, match=r"torch 2\.11"):
        FlashAttention("2.11")(*[None] * 10, scale=1.0, block_table=None)


def test_the_stand_ins_take_the_arguments_of_the_installed_torch() -> None:
    arguments = torch.ops.aten._flash_attention_forward.default._schema.arguments
    assert tuple(a.name for a in arguments if not a.kwarg_only) == POSITIONAL
    assert tuple(a.name for a in arguments if a.kwarg_only) == KEYWORDS["2.13"]
    arguments = torch.ops.aten._efficient_attention_forward.default._schema.arguments
    names = list(EfficientAttention.__call__.__annotations__)[:-1]
    assert [a.name for a in arguments] == names


def test_a_single_token_each_is_not_asked_for_as_such() -> None:
    """The operator would regroup the heads and split the keys by a heuristic of its own."""
    operator = FlashAttention()
    query, key = torch.zeros(2, HEADS, DIM).half(), torch.zeros(5, GROUPS, DIM).half()
    Flash(operator)(query, key, key, step_of([1, 1], [2, 3]), 1.0)
    assert operator.calls[0]["max_q"] > 1


# Which GPUs, precisions and models are served


@pytest.mark.parametrize(
    ("capability", "dtype", "dim", "cure"),
    [
        ((6, 1), torch.float16, 128, "has CUDA compute capability 6.1 .* newer GPU"),
        ((9, 0), torch.float32, 128, "bfloat16 or float16 and not float32"),
        ((7, 5), torch.bfloat16, 128, "bfloat16 needs 8.0 or more; load the model in float16"),
        ((9, 0), torch.bfloat16, 100, "heads have 100 numbers"),
        ((9, 0), torch.bfloat16, 264, "heads have 264 numbers"),
    ],
)
def test_what_is_not_served_is_refused_with_cause_and_cure(
    capability: tuple[int, int], dtype: torch.dtype, dim: int, cure: str
) -> None:
    with pytest.raises(ModelError, match=cure) as caught:
        check("cuda:0", capability, dtype, dim)
    assert "LLAVA_JOBS_SLOW_ATTENTION" in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [((7, 0), torch.float16), ((7, 5), torch.float16), ((8, 0), torch.bfloat16)],
)
def test_what_is_served(capability: tuple[int, int], dtype: torch.dtype) -> None:
    check("cuda:0", capability, dtype, 128)


@pytest.fixture
def gpu_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make torch tell of a GPU of one's own."""

    def make(capability: tuple[int, int]) -> None:
        told = SimpleNamespace(multi_processor_count=132)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: told)

    return make


CONFIG = SimpleNamespace(
    num_attention_heads=32, num_key_value_heads=8, hidden_size=4096, intermediate_size=14336
)


@pytest.mark.parametrize(
    ("capability", "way", "block"), [((7, 5), Efficient, 32), ((8, 0), Flash, 64)]
)
def test_each_gpu_has_its_attention_and_all_kernels_are_tried(
    capability: tuple[int, int], way: type, block: int, gpu_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Any] = []
    gpu_of(capability)
    monkeypatch.setattr(gpu, "OnGpu", lambda *args: args)
    monkeypatch.setattr(gpu, "try_all", lambda *args: tried.append(args))
    device = torch.device("cuda:1")
    kernels: Any = gpu.load(device, torch.float16, CONFIG, page=256)
    assert (kernels[0], type(kernels[1]), kernels[2]) == (132, way, block)
    [(given, *rest)] = tried
    assert given == kernels
    assert rest == [device, torch.float16, Shape(32, 8, 128, 4096, 14336), 256]


def test_without_triton_the_engine_refuses_to_start(
    gpu_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise ImportError("No module named 'triton'")

    gpu_of((9, 0))
    monkeypatch.setattr(gpu, "OnGpu", missing)
    with pytest.raises(ModelError, match=r"triton cannot be imported.*pip install triton"):
        gpu.load(torch.device("cuda"), torch.bfloat16, CONFIG, page=256)


def test_slower_kernels_are_chosen_only_where_they_are_allowed(gpu_of: Any) -> None:
    gpu_of((6, 0))
    model = SimpleNamespace(
        device=torch.device("cuda"),
        dtype=torch.float32,
        config=SimpleNamespace(get_text_config=lambda: CONFIG),
    )
    with pytest.raises(ModelError, match=r"capability 6\.0"):
        kernels_for(model, 256)
    assert type(kernels_for(model, 256, slow_attention=True)) is Reference
