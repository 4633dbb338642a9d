"""Attention over the paged cache in which every request sees only its own keys."""

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

NAME = "flash_by_request"
"""Continuous batching builds no [queries x all keys] mask for a name that contains "flash"."""


def attend(
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
    """Attend request by request: query [1, heads, tokens, dim] -> [1, tokens, heads, dim].

    The stock `sdpa` path of continuous batching scores every query against the keys of every
    request and masks most of it away; here a request's queries meet its own keys only.
    """
    key, value = cache.update(
        key_states=key, value_states=value, layer_idx=module.layer_idx, kwargs=kwargs
    )
    queries = cu_seq_lens_q.tolist()
    keys = kwargs["cu_seq_lens_k"].tolist()
    output = torch.empty_like(query)
    for i in range(len(queries) - 1):
        mine, theirs = slice(queries[i], queries[i + 1]), slice(keys[i], keys[i + 1])
        output[:, :, mine] = _one(
            query[:, :, mine], key[:, :, theirs], value[:, :, theirs], scaling
        )
    return output.transpose(1, 2).contiguous(), None


def _one(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    asked, known = query.shape[2], key.shape[2]
    mask = None
    if 1 < asked < known:  # a chunk of a prompt, or what follows a cached prefix
        mask = torch.ones(asked, known, dtype=torch.bool, device=query.device).tril(known - asked)
    return scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=asked == known > 1,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def use(model: Any) -> None:
    """Make a model's language part attend with `attend`; its vision tower keeps its own."""
    AttentionInterface.register(NAME, attend)
    model.set_attn_implementation({"text_config": NAME})
