"""Each kernel attends as plain attention does, whatever lies beside a request in the cache.

The FlashAttention of torch runs on a GPU alone. Here its place is taken by a function that does
with the same arguments what torch documents of `varlen_attn`, so that what is asked of it is held
to be right. tests/gpu asks the real one.
"""

import logging
from itertools import pairwise
from random import Random
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from worker.engine.attention import flash, interface
from worker.engine.attention.anywhere import Anywhere
from worker.engine.attention.flash import Flash
from worker.engine.attention.lanes import SHORTEST, OnCpu
from worker.engine.attention.old_kernels import Kernels, Speaking

HEADS, GROUPS, DIM, PAGE = 6, 2, 8, 4


def documented(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor | None,
    max_q: int,
    max_k: int,
    *,
    scale: float | None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool,
    seqused_k: torch.Tensor | None = None,
    block_table: torch.Tensor | None = None,
    num_splits: int,
) -> torch.Tensor:
    """What torch.nn.attention.varlen.varlen_attn says of its arguments, slowly."""
    assert num_splits == 1
    assert enable_gqa
    assert all(x.dtype == torch.int32 for x in (cu_seq_q, cu_seq_k, seqused_k) if x is not None)
    output = torch.empty_like(query)
    starts = cu_seq_q.tolist()
    for i, (first, last) in enumerate(pairwise(starts)):
        assert last - first <= max_q
        if block_table is not None:
            assert seqused_k is not None
            assert (block_table[i] >= 0).all()
            length = int(seqused_k[i])
            keys, values = (x[block_table[i].long()].flatten(0, 1)[:length] for x in (key, value))
        else:
            assert cu_seq_k is not None
            keys, values = (x[int(cu_seq_k[i]) : int(cu_seq_k[i + 1])] for x in (key, value))
        assert 0 < len(keys) <= max_k
        output[first:last] = plain(query[first:last], keys, values, causal=window_size == (-1, 0))
    return output


def plain(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, causal: bool = True
) -> torch.Tensor:
    """Attention of one request, [tokens, heads, dim]; the queries are the last of the keys."""
    asked, known = len(query), len(key)
    mask = torch.ones(asked, known, dtype=torch.bool).tril(known - asked) if causal else None
    query, key, value = (x.transpose(0, 1).unsqueeze(0) for x in (query, key, value))
    output = scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=True)
    return output.squeeze(0).transpose(0, 1)


@pytest.fixture(params=["anywhere", "cpu", "flash"])
def kernels(request: pytest.FixtureRequest) -> Kernels:
    made: dict[str, Kernels] = {
        "anywhere": Anywhere(),
        "cpu": OnCpu(layers=1),
        "flash": Flash(documented),
    }
    return made[request.param]


def starts_of(lengths: list[int]) -> torch.Tensor:
    return torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)


def test_prompts_whole_in_chunks_and_behind_a_cached_beginning(kernels: Kernels) -> None:
    asked, known = [7, 3, 1, 5], [7, 9, 4, 5]
    query = torch.randn(sum(asked), HEADS, DIM)
    key, value = torch.randn(2, sum(known), GROUPS, DIM)
    longest = max(asked), max(known)
    output = kernels.read(query, key, value, starts_of(asked), starts_of(known), longest, None)
    queries, keys, values = query.split(asked), key.split(known), value.split(known)
    wanted = [plain(q, k, v) for q, k, v in zip(queries, keys, values, strict=True)]
    torch.testing.assert_close(output, torch.cat(wanted))


def test_generating_reads_each_requests_own_pages(kernels: Kernels) -> None:
    pages = torch.randn(2, 20, PAGE, GROUPS, DIM)
    table = torch.tensor([[3, 9, 4], [5, 0, 0], [3, 8, 0]], dtype=torch.int32)
    step = Speaking.of(("a", "b", "c"), table, starts_of([11, 1, 8]), PAGE)
    query = torch.randn(3, HEADS, DIM)
    output = kernels.speak(query, pages[0], pages[1], step, 0, None)
    for i, length in enumerate(step.lengths.tolist()):
        keys, values = (x[table[i].long()].flatten(0, 1)[:length] for x in pages)
        torch.testing.assert_close(output[i : i + 1], plain(query[i : i + 1], keys, values))


class PagedCache:
    """What attention needs of the stock cache, of `layers` layers, in a step that generates."""

    step: Speaking

    def __init__(self, kernels: Kernels, pages: int, layers: int = 1) -> None:
        self.kernels = kernels
        self.speaking: list[str] = []
        self.cells = torch.zeros(layers, 2, pages, PAGE, GROUPS, DIM)

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        kwargs["k_cache"], kwargs["v_cache"] = self.cells[layer_idx]
        return key_states, value_states


def generate(
    cache: PagedCache, layer: int, new: torch.Tensor, lengths: list[int], table: torch.Tensor
) -> torch.Tensor:
    """One layer of a step that generates: new [heads, requests, dim] are the queries, and the keys
    and values of the first heads."""
    module = torch.nn.Module()
    module.layer_idx = layer  # type: ignore[assignment]
    output, _ = interface.attend(
        module,
        new.unsqueeze(0),
        new[:GROUPS].unsqueeze(0),
        -new[:GROUPS].unsqueeze(0),
        None,
        cache=cache,
        cu_seq_lens_q=starts_of([1] * len(lengths)),
        cu_seq_lens_k=starts_of(lengths),
        block_table=table,
    )
    return output.squeeze(0)


@pytest.mark.parametrize("kernels", ["anywhere", "flash"], indirect=True)
def test_rows_that_pad_a_captured_graph_touch_nobodys_pages(kernels: Kernels) -> None:
    cache = PagedCache(kernels, pages=4)
    new = torch.randn(HEADS, 3, DIM)
    table = torch.tensor([[2, 3], [-1, -1], [-1, -1]], dtype=torch.int32)
    output = generate(cache, 0, new, [6, 0, 0], table)
    assert output.isfinite().all()
    keys = cache.cells[0, 0]
    # The first request's token is its sixth: the second of its second page.
    torch.testing.assert_close(keys[3, 1], new[:GROUPS, 0])
    keys[3, 1] = 0
    keys[0, 0] = 0  # the trash
    assert not keys.any()


@pytest.mark.parametrize("seed", range(20))
def test_however_requests_come_and_go_each_attends_to_its_own_keys(seed: int) -> None:
    """Steps at random, of two layers: requests join in any order, leave, pause for steps, come
    again, and outgrow their lane; a page is given to another request as soon as it is free."""
    draw = Random(seed)
    layers, pages, longest = 2, 700, 2 * SHORTEST + 40
    cache = PagedCache(OnCpu(layers), pages, layers)
    reference = PagedCache(Anywhere(), pages, layers)
    cache.cells.normal_()
    reference.cells.copy_(cache.cells)
    free = list(range(1, pages))
    running: dict[str, tuple[list[int], int]] = {}
    for turn in range(40):
        for name in [name for name in running if draw.random() < 0.1]:
            free.extend(running.pop(name)[0])
        while len(running) < 8 and draw.random() < 0.6 and len(free) > longest:
            name = f"{turn}-{len(running)}"
            length = draw.choice([1, 9, SHORTEST - 2, SHORTEST + 3, 2 * SHORTEST - 1])
            running[name] = ([free.pop() for _ in range(-(-longest // PAGE))], length)
        speaking = [name for name in running if draw.random() < 0.9]
        draw.shuffle(speaking)
        if not speaking:
            continue
        table = torch.tensor([running[name][0] for name in speaking], dtype=torch.int32)
        lengths = [running[name][1] + 1 for name in speaking]
        for layer in range(layers):
            new = torch.randn(HEADS, len(speaking), DIM)
            for one in (cache, reference):
                one.speaking = speaking
            given = layer, new, lengths, table
            torch.testing.assert_close(generate(cache, *given), generate(reference, *given))
        for name in speaking:
            running[name] = (running[name][0], running[name][1] + 1)


def test_a_lane_shrinks_as_its_requests_leave() -> None:
    kernels = OnCpu(layers=1)
    pages = torch.randn(2, 40, PAGE, GROUPS, DIM)
    names = [str(i) for i in range(16)]
    for step, count in enumerate([16, 3, 3]):
        table = torch.arange(count, dtype=torch.int32).unsqueeze(1) + 1
        starts = starts_of([1 + step] * count)
        speaking = Speaking.of(names[:count], table, starts, PAGE)
        query = torch.randn(count, HEADS, DIM)
        output = kernels.speak(query, pages[0], pages[1], speaking, 0, None)
        wanted = Anywhere().speak(query, pages[0], pages[1], speaking, 0, None)
        torch.testing.assert_close(output, wanted)
    [lane] = kernels._lanes.values()
    assert lane.cells.shape[2] <= 2 * 3


def test_lanes_are_given_back_with_their_requests() -> None:
    kernels = OnCpu(layers=1)
    cache = PagedCache(kernels, pages=4)
    table = torch.tensor([[2], [3]], dtype=torch.int32)
    cache.speaking = ["a", "b"]
    generate(cache, 0, torch.randn(HEADS, 2, DIM), [3, 2], table)
    assert kernels.requests == {"a", "b"}
    cache.speaking = ["b"]
    generate(cache, 0, torch.randn(HEADS, 1, DIM), [3], table[1:])
    assert kernels.requests == {"b"}


def test_a_cpu_needs_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(interface.best_kernels(torch.device("cpu"), torch.float32, 1), OnCpu)
    assert not caplog.records


def test_a_gpu_without_the_kernel_answers_all_the_same_and_says_so_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Flash:
        raise RuntimeError("FlashAttention only supports Ampere GPUs or newer.\nAt line 1")

    monkeypatch.setattr(flash, "load", refuse)
    with caplog.at_level(logging.WARNING):
        kernels = interface.best_kernels(torch.device("cuda"), torch.bfloat16, 1)
    assert type(kernels) is Anywhere
    assert len(caplog.records) == 1
    assert "several times slower" in caplog.text
