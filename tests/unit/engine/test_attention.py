"""Each kernel attends as plain attention does, whatever lies beside a request in the cache.

The FlashAttention of torch runs on a GPU alone. Here its place is taken by a function that does
with the same arguments what torch documents of `varlen_attn`, so that what is asked of it is held
to be right. tests/gpu asks the real one.
"""

import logging
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from worker.engine import attention
from worker.engine.attention import Anywhere, Flash, Kernels

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


@pytest.fixture(params=["anywhere", "flash"])
def kernels(request: pytest.FixtureRequest) -> Kernels:
    return Anywhere() if request.param == "anywhere" else Flash(documented)


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
    lengths = torch.tensor([11, 1, 8], dtype=torch.int32)
    query = torch.randn(3, HEADS, DIM)
    output = kernels.speak(query, pages[0], pages[1], table, lengths, None)
    for i, length in enumerate(lengths.tolist()):
        keys, values = (x[table[i].long()].flatten(0, 1)[:length] for x in pages)
        torch.testing.assert_close(output[i : i + 1], plain(query[i : i + 1], keys, values))


class PagedCache:
    """What attention needs of the stock cache in a step that generates."""

    def __init__(self, pages: int) -> None:
        self.keys, self.values = torch.zeros(2, pages, PAGE, GROUPS, DIM)

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        assert layer_idx == 0
        kwargs["k_cache"], kwargs["v_cache"] = self.keys, self.values
        return key_states, value_states


def test_rows_that_pad_a_captured_graph_touch_nobodys_pages(kernels: Kernels) -> None:
    cache = PagedCache(pages=4)
    query = torch.randn(1, HEADS, 3, DIM)
    key, value = torch.randn(2, 1, GROUPS, 3, DIM)
    layer = torch.nn.Module()
    layer.layer_idx = 0  # type: ignore[assignment]
    output, _ = attention.attend(
        kernels,
        layer,
        query,
        key,
        value,
        None,
        cache=cache,
        cu_seq_lens_q=starts_of([1, 1, 1]),
        cu_seq_lens_k=starts_of([6, 0, 0]),
        block_table=torch.tensor([[2, 3], [-1, -1], [-1, -1]], dtype=torch.int32),
    )
    assert output.isfinite().all()
    # The first request's token is its sixth: the second of its second page.
    torch.testing.assert_close(cache.keys[3, 1], key[0, :, 0])
    cache.keys[3, 1] = 0
    cache.keys[0, 0] = 0  # the trash
    assert not cache.keys.any()


def test_a_cpu_needs_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(attention.best_kernels(torch.device("cpu"), torch.float32), Anywhere)
    assert not caplog.records


def test_a_gpu_without_the_kernel_answers_all_the_same_and_says_so_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Flash:
        raise RuntimeError("FlashAttention only supports Ampere GPUs or newer.\nAt line 1")

    monkeypatch.setattr(attention, "_flash", refuse)
    with caplog.at_level(logging.WARNING):
        kernels = attention.best_kernels(torch.device("cuda"), torch.bfloat16)
    assert isinstance(kernels, Anywhere)
    assert len(caplog.records) == 1
    assert "several times slower" in caplog.text
