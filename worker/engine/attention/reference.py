"""Kernels of plain torch operations, for any device and dtype: what others are tested against, and
what serves shapes that they do not."""

import torch
from torch.nn.functional import scaled_dot_product_attention, silu

from worker.engine.attention.kernels import DecodeStep, PromptStep


class Reference:
    """Kernels for any device (see worker.engine.attention.kernels.Kernels)."""

    capturable = False

    def rotate_and_store(
        self,
        qkv: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        slots: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        heads: int,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rotate in at least float32, then round once."""
        groups = keys.shape[2]
        turned, value = qkv.split((heads + groups, groups), dim=1)
        first, second = turned.to(torch.promote_types(qkv.dtype, torch.float32)).chunk(2, dim=-1)
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
        halves = (first * cos - second * sin, second * cos + first * sin)
        query, key = torch.cat(halves, dim=-1).to(qkv.dtype).split((heads, groups), dim=1)
        keys.view(-1, *keys.shape[2:]).index_copy_(0, slots, key)
        values.view(-1, *values.shape[2:]).index_copy_(0, slots, value)
        return query, key, value

    def prompt(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        step: PromptStep,
        scale: float,
    ) -> torch.Tensor:
        """Attend request by request, so that nobody is scored against the keys of others."""
        starts, key_starts = step.on_host
        output = torch.empty_like(query, memory_format=torch.contiguous_format)
        for i in range(len(starts) - 1):
            queries = slice(starts[i], starts[i + 1])
            known = slice(key_starts[i], key_starts[i + 1])
            output[queries] = _causal(query[queries], key[known], value[known], scale)
        return output

    def decode(
        self,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        step: DecodeStep,
        scale: float,
    ) -> torch.Tensor:
        """Attend request by request to copies of its keys."""
        output = torch.empty_like(query, memory_format=torch.contiguous_format)
        for row, length in enumerate(step.lengths.tolist()):
            pages = step.table[row].long()
            key, value = (x[pages].flatten(0, 1)[:length] for x in (keys, values))
            output[row] = _causal(query[row : row + 1], key, value, scale)[0]
        return output

    def norm(self, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        """As transformers' LlamaRMSNorm does, operation by operation."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
        return weight * wide.to(x.dtype)

    def gated(self, gate_up: torch.Tensor) -> torch.Tensor:
        """silu of the first half times the second."""
        gate, up = gate_up.chunk(2, dim=-1)
        return silu(gate) * up


def _causal(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
) -> torch.Tensor:
    """Attend within one request whose queries are the last of its keys: [tokens, heads, dim]."""
    asked, known = len(query), len(key)
    mask = None
    if 1 < asked < known:  # a chunk of a prompt, or what follows a cached prefix
        mask = torch.ones(asked, known, dtype=torch.bool, device=query.device).tril(known - asked)
    query, key, value = (x.transpose(0, 1).unsqueeze(0) for x in (query, key, value))
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
