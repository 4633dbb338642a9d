"""Kernels of plain torch, for any device and precision: what the others are held to."""

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
        """Rotate queries and keys, and write keys and values to the cache."""
        both = heads + keys.shape[2]
        first, second = qkv[:, :both].float().chunk(2, dim=-1)
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
        halves = first * cos - second * sin, second * cos + first * sin
        turned = torch.cat(halves, dim=-1).to(qkv.dtype)
        query, key, value = turned[:, :heads], turned[:, heads:], qkv[:, both:]
        keys.flatten(0, 1)[slots] = key
        values.flatten(0, 1)[slots] = value
        return query, key, value

    def prompt(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        step: PromptStep,
        scale: float,
    ) -> torch.Tensor:
        """Attend request by request."""
        output = torch.empty_like(query)
        asked, known = step.on_host
        for i in range(len(asked) - 1):
            mine, theirs = slice(asked[i], asked[i + 1]), slice(known[i], known[i + 1])
            output[mine] = _causal(query[mine], key[theirs], value[theirs], scale)
        return output

    def decode(
        self,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        step: DecodeStep,
        scale: float,
    ) -> torch.Tensor:
        """Gather the pages of all requests and attend once, what is too much masked away."""
        (rows, heads, dim), groups = query.shape, keys.shape[2]
        table = step.table.long()
        key, value = (cells[table].flatten(1, 2).transpose(1, 2) for cells in (keys, values))
        behind = torch.arange(key.shape[2], device=query.device) >= step.lengths.unsqueeze(1)
        mask = torch.zeros(behind.shape, dtype=query.dtype, device=query.device)
        output = scaled_dot_product_attention(
            query.reshape(rows, groups, heads // groups, dim),
            key,
            value.masked_fill(behind.view(rows, 1, -1, 1), 0),
            attn_mask=mask.masked_fill(behind, -torch.inf).view(rows, 1, 1, -1),
            scale=scale,
        )
        return output.reshape(rows, heads, dim)

    def norm(self, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        """Divide by the root mean square."""
        wide = x.float()
        return weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype)

    def gated(self, gate_up: torch.Tensor) -> torch.Tensor:
        """Multiply silu of the first half by the second."""
        gate, up = gate_up.chunk(2, dim=-1)
        return silu(gate) * up


def _causal(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
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
