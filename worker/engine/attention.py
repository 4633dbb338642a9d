"""Attention over the paged cache in which every request sees only its own keys.

Steps come in two kinds. A step that reads prompts hands over the keys of all requests one behind
the other; a step that generates hands over a block table, which says in which pages of the cache
the keys of each request lie. Each kind has a kernel that works anywhere, made of torch's scaled dot
product attention, and one for GPUs, made of the FlashAttention that torch brings along.
"""

import logging
from functools import partial
from typing import Any, Protocol

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

log = logging.getLogger(__name__)

NAME = "flash_by_request"
"""Continuous batching builds no [queries x all keys] mask for a name that contains "flash"."""
FLASH_PAGE = 256
"""Pages of the cache must hold a multiple of so many tokens for torch's FlashAttention."""
TRASH = 0
"""A slot of the cache that is never given to a request: the first sectors are for padding."""


class Kernels(Protocol):
    """How one device attends; shapes are torch.nn.attention.varlen's, [tokens, heads, dim]."""

    capturable: bool
    """Whether a step that generates can be captured in a CUDA graph."""

    def read(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        queries: torch.Tensor,
        keys: torch.Tensor,
        longest: tuple[int, int],
        scale: float | None,
    ) -> torch.Tensor:
        """Attend causally within each request: `queries` and `keys` int32 [requests + 1] are where
        each begins, `longest` the most tokens of either."""

    def speak(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        table: torch.Tensor,
        lengths: torch.Tensor,
        scale: float | None,
    ) -> torch.Tensor:
        """Attend with one query a request, [requests, heads, dim], to the first `lengths` int32
        [requests] keys in the pages `table` int32 [requests, pages] of the cache, [pages, page
        size, heads, dim]."""


class Anywhere:
    """Scaled dot product attention, for any device."""

    capturable = False

    def read(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        queries: torch.Tensor,
        keys: torch.Tensor,
        longest: tuple[int, int],
        scale: float | None,
    ) -> torch.Tensor:
        """Attend request by request, so that nobody is scored against the keys of others."""
        del longest
        asked, known = queries.tolist(), keys.tolist()
        output = torch.empty_like(query)
        for i in range(len(asked) - 1):
            mine, theirs = slice(asked[i], asked[i + 1]), slice(known[i], known[i + 1])
            output[mine] = _causal(query[mine], key[theirs], value[theirs], scale)
        return output

    def speak(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        table: torch.Tensor,
        lengths: torch.Tensor,
        scale: float | None,
    ) -> torch.Tensor:
        """Gather the pages of all requests and attend once, what is too much masked away."""
        requests, heads, dim = query.shape
        page, groups = key.shape[1], key.shape[2]
        table = table[:, : -(-int(lengths.max()) // page)]
        # [requests, groups, keys, dim]; queries that share a group of keys stand as its rows.
        key, value = (
            pages.flatten(1).index_select(0, table.flatten()).view(requests, -1, groups, dim)
            for pages in (key, value)
        )
        key, value = key.transpose(1, 2), value.transpose(1, 2)
        rows = query.view(requests, groups, heads // groups, dim)
        seen = torch.arange(key.shape[2], device=query.device) < lengths.unsqueeze(1)
        mask = seen.view(requests, 1, 1, -1).expand(-1, groups, heads // groups, -1)
        output = scaled_dot_product_attention(rows, key, value, attn_mask=mask, scale=scale)
        return output.reshape(requests, heads, dim)


class Flash:
    """The variable-length FlashAttention that torch brings along (torch.nn.attention.varlen).

    `attend` is `varlen_attn`, or what stands in for it in tests.
    """

    capturable = True

    def __init__(self, attend: Any) -> None:
        # Splitting the keys of paged requests corrupts rows in silence (pytorch issue 194167).
        self._attend = partial(attend, num_splits=1, enable_gqa=True)

    def read(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        queries: torch.Tensor,
        keys: torch.Tensor,
        longest: tuple[int, int],
        scale: float | None,
    ) -> torch.Tensor:
        """Attend in one kernel; a window of nothing to the right is what causal means."""
        output: torch.Tensor = self._attend(
            query, key, value, queries, keys, *longest, scale=scale, window_size=(-1, 0)
        )
        return output

    def speak(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        table: torch.Tensor,
        lengths: torch.Tensor,
        scale: float | None,
    ) -> torch.Tensor:
        """Attend in one kernel, straight from the pages.

        The longest that keys could be is the table's width, a constant, so that a captured graph
        stays valid.
        """
        ones = torch.arange(len(query) + 1, dtype=torch.int32, device=query.device)
        output: torch.Tensor = self._attend(
            query,
            key,
            value,
            ones,
            None,
            1,
            table.shape[1] * key.shape[1],
            scale=scale,
            seqused_k=lengths,
            block_table=table,
        )
        return output


def best_kernels(device: torch.device, dtype: torch.dtype) -> Kernels:
    """The fastest kernels that work on a device; warns once where a GPU has no fast ones."""
    if device.type != "cuda":
        return Anywhere()
    try:
        return _flash(device, dtype)
    except (ImportError, RuntimeError) as error:
        log.warning(
            "torch's FlashAttention cannot be used (%s): answers are right and several times "
            "slower. It needs bfloat16 or float16 on a GPU of compute capability 8.0 or newer.",
            str(error).splitlines()[0],
        )
        return Anywhere()


def _flash(device: torch.device, dtype: torch.dtype) -> Flash:
    """The fast kernels, tried on a page of zeros; raises ImportError or RuntimeError."""
    from torch.nn.attention.varlen import varlen_attn

    flash = Flash(varlen_attn)
    query = torch.zeros(1, 2, 64, dtype=dtype, device=device)
    pages = torch.zeros(1, FLASH_PAGE, 1, 64, dtype=dtype, device=device)
    whole = torch.zeros(1, 1, dtype=torch.int32, device=device)
    flash.speak(query, pages, pages, whole, whole[0] + 1, None)
    return flash


def use(model: Any, kernels: Kernels) -> None:
    """Make a model's language part attend with `kernels`; its vision tower keeps its own."""
    AttentionInterface.register(NAME, partial(attend, kernels))
    model.set_attn_implementation({"text_config": NAME})


def attend(
    kernels: Kernels,
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: torch.Tensor | None,
    *,
    cache: Any,
    cu_seq_lens_q: torch.Tensor,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Store the new keys and values and attend: query [1, heads, tokens, dim] -> [1, tokens, heads,
    dim]. It has the form that transformers' AttentionInterface asks for."""
    known, fresh = cache.update(
        key_states=key, value_states=value, layer_idx=module.layer_idx, kwargs=kwargs
    )
    query, key, value = (x.squeeze(0).transpose(0, 1) for x in (query, known, fresh))
    starts = kwargs["cu_seq_lens_k"]
    if kwargs.get("block_table") is None:
        longest = kwargs["max_length_q"], kwargs["max_length_k"]
        output = kernels.read(query, key, value, cu_seq_lens_q, starts, longest, scaling)
    else:
        keys, values, table = kwargs["k_cache"], kwargs["v_cache"], kwargs["block_table"]
        lengths = starts.diff()
        _store(keys, values, key, value, table, lengths)
        # Rows that only pad a captured graph have no pages; they look at the trash page.
        output = kernels.speak(
            query, keys, values, table.clamp(min=0), lengths.clamp(min=1), scaling
        )
    return output.unsqueeze(0), None


def _store(
    keys: torch.Tensor,
    values: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    table: torch.Tensor,
    lengths: torch.Tensor,
) -> None:
    """Write one key and value a request, [requests, heads, dim], behind those that it has."""
    size = keys.shape[1]
    place = (lengths - 1).clamp(min=0).long()
    page = table.gather(1, (place // size).unsqueeze(1)).squeeze(1).long()
    slot = torch.where((page >= 0) & (lengths > 0), page * size + place % size, TRASH)
    keys.view(-1, *keys.shape[2:]).index_copy_(0, slot, key)
    values.view(-1, *values.shape[2:]).index_copy_(0, slot, value)


def _causal(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None
) -> torch.Tensor:
    """Attend within one request whose queries are the last of its keys: [tokens, heads, dim]."""
    query, key, value = (x.transpose(0, 1).unsqueeze(0) for x in (query, key, value))
    asked, known = query.shape[2], key.shape[2]
    mask = None
    if 1 < asked < known:  # a chunk of a prompt, or what follows a cached prefix
        mask = torch.ones(asked, known, dtype=torch.bool, device=query.device).tril(known - asked)
    output = scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=asked == known > 1,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return output.squeeze(0).transpose(0, 1)
