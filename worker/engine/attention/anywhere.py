"""Attention by torch's scaled dot product, which works on any device."""

import torch
from torch.nn.functional import scaled_dot_product_attention

from worker.engine.attention.old_kernels import Speaking


class Anywhere:
    """Kernels for any device (see worker.engine.attention.old_kernels.Kernels)."""

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
        step: Speaking,
        layer: int,
        scale: float | None,
    ) -> torch.Tensor:
        """Gather the pages of all requests and attend once, what is too much masked away."""
        del layer
        page, (groups, dim) = key.shape[1], key.shape[2:]
        pages = step.table[:, : -(-int(step.lengths.max()) // page)]
        key, value = (
            cells.flatten(1).index_select(0, pages.flatten()).view(len(query), -1, groups, dim)
            for cells in (key, value)
        )
        return attend_padded(query, key, value, padding(step.lengths, key.shape[1]), scale)


def padding(lengths: torch.Tensor, longest: int) -> torch.Tensor:
    """What is added to scores so that keys behind a request's own do not count: lengths int
    [requests] -> float32 [requests, 1, 1, longest]."""
    behind = torch.arange(longest, device=lengths.device) >= lengths.unsqueeze(1)
    mask = torch.zeros(behind.shape, device=lengths.device).masked_fill(behind, -torch.inf)
    return mask.view(len(lengths), 1, 1, longest)


def attend_padded(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    scale: float | None,
) -> torch.Tensor:
    """Attend with one query a request, [requests, heads, dim], to keys that stand in rows of equal
    length, [requests, longest, groups of heads, dim].

    Queries that share a group of keys stand as its rows, so no key is repeated.
    """
    (requests, heads, dim), groups = query.shape, key.shape[2]
    output = scaled_dot_product_attention(
        query.reshape(requests, groups, heads // groups, dim),
        key.transpose(1, 2),
        value.transpose(1, 2),
        attn_mask=mask.to(query.dtype),
        scale=scale,
    )
    return output.reshape(requests, heads, dim)


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
