"""Each device's kernels against the formulas, computed one query at a time in float64.

What a kernel must not read is poisoned: every slot of the cache that holds no key of a request is
NaN, which would spread to the answer. So is what it must write: torch fills new memory with NaN.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate

import pytest
import torch

from worker.engine.attention.cpu import Cpu
from worker.engine.attention.kernels import DecodeStep, Kernels, PromptStep
from worker.engine.attention.reference import Reference

KERNELS: dict[str, type[Kernels]] = {"reference": Reference, "cpu": Cpu}
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2e-2}
SHAPES = [(8, 8, 32), (8, 2, 64), (8, 1, 128), (7, 1, 64), (3, 1, 24), (2, 2, 8)]
"""Heads, groups of them that have keys in common, and numbers of a head."""


@pytest.fixture(autouse=True)
def poison() -> Iterator[None]:
    """New memory is NaN, as torch does it where results have to be the same each time."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(params=KERNELS)
def kernels(request: pytest.FixtureRequest) -> Kernels:
    torch.manual_seed(sum(map(ord, request.node.name)))
    return KERNELS[request.param]()


@pytest.fixture(params=TOLERANCE, ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    dtype: torch.dtype = request.param
    return dtype


@pytest.fixture(params=[1, 2, 5])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """One query [heads, dim] on all keys and values [keys, groups, dim], scaled by 0.3."""
    share = len(query) // key.shape[1]
    key, value = (x.double().repeat_interleave(share, dim=1) for x in (key, value))
    weights = (torch.einsum("hd,khd->hk", query.double(), key) * 0.3).softmax(-1)
    return torch.einsum("hk,khd->hd", weights, value)


def assert_near(output: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> None:
    assert output.dtype == dtype
    assert output.shape == expected.shape
    error = (output.double() - expected).abs().max().item()
    assert error <= TOLERANCE[dtype] * max(1.0, expected.abs().max().item())


class Requests:
    """A cache of one layer in which the keys of some requests lie in pages drawn at random."""

    def __init__(
        self, lengths: Sequence[int], shape: tuple[int, int, int], page: int, dtype: torch.dtype
    ) -> None:
        heads, groups, dim = shape
        counts = [-(-length // page) for length in lengths]
        pages = (torch.randperm(sum(counts)) + 1).split(counts)
        size = (sum(counts) + 1, page, groups, dim)
        self.keys, self.values = (torch.full(size, torch.nan, dtype=dtype) for _ in range(2))
        self.query = torch.randn(len(lengths), heads, dim).to(dtype)
        table = torch.zeros(len(lengths), max(counts) + 1, dtype=torch.int32)
        self.expected = torch.empty(len(lengths), heads, dim, dtype=torch.float64)
        slots = []
        for i, length in enumerate(lengths):
            table[i, : counts[i]] = pages[i]
            slot = (pages[i].unsqueeze(1) * page + torch.arange(page)).flatten()[:length]
            key, value = (torch.randn(length, groups, dim).to(dtype) for _ in range(2))
            self.keys.flatten(0, 1)[slot], self.values.flatten(0, 1)[slot] = key, value
            self.expected[i] = attention(self.query[i], key, value)
            slots.append(slot[-1])
        self.step = DecodeStep(torch.stack(slots), table, torch.tensor(lengths, dtype=torch.int32))


LENGTHS = {
    "one key": [1],
    "a page and its neighbours": [15, 16, 17, 31, 32, 33, 64],
    "one long request": [700],
    "ragged": [1, 130, 5, 16, 77, 200, 3],
    "many": [(37 * i) % 61 + 1 for i in range(64)],
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("lengths", LENGTHS)
def test_decode_attends_to_all_keys_of_a_request_and_to_no_others(
    kernels: Kernels, dtype: torch.dtype, shape: tuple[int, int, int], lengths: str
) -> None:
    requests = Requests(LENGTHS[lengths], shape, 32, dtype)
    output = kernels.decode(requests.query, requests.keys, requests.values, requests.step, 0.3)
    assert_near(output, requests.expected, dtype)


@pytest.mark.parametrize("page", [1, 4, 16, 24, 256])
def test_decode_reads_pages_of_any_size(
    kernels: Kernels, dtype: torch.dtype, threads: int, page: int
) -> None:
    requests = Requests([1, 3, 4, 5, 100, 260, 47], (8, 2, 64), page, dtype)
    output = kernels.decode(requests.query, requests.keys, requests.values, requests.step, 0.3)
    assert_near(output, requests.expected, dtype)


@pytest.mark.parametrize("rows", [1, 2, 64])
def test_decode_reads_a_query_that_lies_between_other_numbers(
    kernels: Kernels, dtype: torch.dtype, rows: int
) -> None:
    requests = Requests([40] * rows, (8, 2, 64), 32, dtype)
    apart = torch.full((rows, 12, 64), torch.nan, dtype=dtype)
    apart[:, :8] = requests.query
    output = kernels.decode(apart[:, :8], requests.keys, requests.values, requests.step, 0.3)
    assert output.is_contiguous()
    assert_near(output, requests.expected, dtype)


def test_decode_gives_rows_that_pad_a_step_some_answer(kernels: Kernels) -> None:
    requests = Requests([40, 33], (8, 2, 64), 32, torch.float32)
    requests.keys[0, 0], requests.values[0, 0] = 0, 0
    step = DecodeStep(
        torch.cat([requests.step.slots, torch.zeros(2, dtype=torch.int64)]),
        torch.cat([requests.step.table, torch.zeros_like(requests.step.table)]),
        torch.cat([requests.step.lengths, torch.ones(2, dtype=torch.int32)]),
    )
    query = requests.query.repeat(2, 1, 1)
    output = kernels.decode(query, requests.keys, requests.values, step, 0.3)
    assert_near(output[:2], requests.expected, torch.float32)
    assert (output[2:] == 0).all()


def test_decode_holds_with_scores_far_apart(kernels: Kernels) -> None:
    requests = Requests([50, 3], (4, 2, 32), 16, torch.float32)
    query = requests.query * 1000
    pages, keys, values = requests.step.table[0, :4].long(), requests.keys, requests.values
    key, value = (x[pages].flatten(0, 1)[:50] for x in (keys, values))
    output = kernels.decode(query, keys, values, requests.step, 0.3)
    assert_near(output[0], attention(query[0], key, value), torch.float32)


@pytest.mark.parametrize("poisoned", ["keys", "values"])
def test_a_key_or_value_that_is_no_number_shows(kernels: Kernels, poisoned: str) -> None:
    requests = Requests([50, 20], (4, 2, 32), 16, torch.float32)
    getattr(requests, poisoned)[requests.step.table[0, 1], 5] = torch.nan
    output = kernels.decode(requests.query, requests.keys, requests.values, requests.step, 0.3)
    assert output[0].isnan().all()
    assert_near(output[1], requests.expected[1], torch.float32)


PROMPTS = {
    "one token": ([1], [1]),
    "whole prompts": ([5, 158, 64, 1, 67], [5, 158, 64, 1, 67]),
    "cached prefixes": ([5, 1, 30, 66], [37, 20, 31, 130]),
    "some of each": ([3, 40, 7], [3, 72, 7]),
    "many": ([(5 * i) % 13 + 1 for i in range(64)], [(5 * i) % 13 + 1 + i for i in range(64)]),
}
"""For each request its queries and its keys."""


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("prompts", PROMPTS)
def test_a_prompt_is_attended_to_causally_and_by_request(
    kernels: Kernels, dtype: torch.dtype, shape: tuple[int, int, int], prompts: str
) -> None:
    assert_prompt(kernels, dtype, shape, *PROMPTS[prompts])


def test_a_prompt_is_shared_by_any_number_of_threads(
    kernels: Kernels, dtype: torch.dtype, threads: int
) -> None:
    assert_prompt(kernels, dtype, (8, 2, 64), [158, 20, 90, 1], [158, 70, 90, 1])


def assert_prompt(
    kernels: Kernels,
    dtype: torch.dtype,
    shape: tuple[int, int, int],
    asked: Sequence[int],
    known: Sequence[int],
) -> None:
    """Attend with queries, keys and values that lie between other numbers."""
    heads, groups, dim = shape
    starts, key_starts = ([0, *accumulate(counts)] for counts in (asked, known))
    step = PromptStep(
        torch.arange(sum(asked)),
        torch.tensor(starts, dtype=torch.int32),
        torch.tensor(key_starts, dtype=torch.int32),
        (max(asked), max(known)),
        None,
        (starts, key_starts),
    )
    query = torch.randn(sum(asked), heads + 2, dim).to(dtype)[:, :heads]
    key, value = torch.randn(sum(known), 2 * groups, dim).to(dtype).chunk(2, dim=1)
    expected = torch.empty(query.shape, dtype=torch.float64)
    for i, (queries, keys) in enumerate(zip(asked, known, strict=True)):
        for at in range(queries):
            seen = slice(key_starts[i], key_starts[i] + keys - queries + at + 1)
            row = starts[i] + at
            expected[row] = attention(query[row], key[seen], value[seen])
    output = kernels.prompt(query, key, value, step, 0.3)
    assert output.is_contiguous()
    assert_near(output, expected, dtype)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("tokens", [1, 3, 64, 200])
def test_queries_and_keys_are_rotated_and_keys_and_values_stored(
    kernels: Kernels, dtype: torch.dtype, shape: tuple[int, int, int], tokens: int
) -> None:
    heads, groups, dim = shape
    qkv = torch.randn(tokens, heads + 2 * groups, dim).to(dtype)
    angles = torch.randn(tokens, dim // 2)
    keys, values = (torch.full((20, 16, groups, dim), torch.nan, dtype=dtype) for _ in range(2))
    slots = torch.randperm(20 * 16)[:tokens]
    first, second = qkv[:, : heads + groups].double().chunk(2, dim=-1)
    cos, sin = (x.double().unsqueeze(1) for x in (angles.cos(), angles.sin()))
    turned = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    expected = turned[:, :heads], turned[:, heads:], qkv[:, heads + groups :].double()

    outputs = kernels.rotate_and_store(
        qkv.clone(), angles.cos(), angles.sin(), slots, keys, values, heads
    )

    for output, right in zip(outputs, expected, strict=True):
        assert_near(output, right, dtype)
    for cells, new in ((keys, outputs[1]), (values, outputs[2])):
        flat = cells.flatten(0, 1)
        assert torch.equal(flat[slots], new)
        assert int(flat.isfinite().all(-1).all(-1).sum()) == tokens


@pytest.mark.parametrize("hidden", [8, 100, 512, 4096])
@pytest.mark.parametrize("tokens", [1, 17, 200])
def test_norm_divides_by_the_root_mean_square(
    kernels: Kernels, dtype: torch.dtype, hidden: int, tokens: int
) -> None:
    x, weight = (torch.randn(tokens, hidden) * 5).to(dtype), torch.randn(hidden).to(dtype)
    wide = x.double()
    expected = wide / (wide.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight.double()
    assert_near(kernels.norm(x, weight, 1e-5), expected, dtype)


def test_the_gate_is_a_silu() -> None:
    gate, up = torch.randn(2, 5, 40)
    expected = gate.double() / (1 + (-gate.double()).exp()) * up.double()
    assert_near(Reference().gated(torch.cat([gate, up], dim=-1)), expected, torch.float32)
