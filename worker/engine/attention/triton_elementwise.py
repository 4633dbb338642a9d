"""What a decoder layer does to single tokens between its matrix products, in Triton: rotation with
the writing of keys and values to the cache, norm, and the gated activation."""

import torch
import triton
import triton.language as tl

HEADS = 16
"""Heads of a token that one program rotates."""

COLUMNS = 1024
"""Numbers of a row that one program gates."""


def rotate_and_store(
    qkv: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    slots: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    heads: int,
) -> None:
    """Rotate queries and keys in place, and write keys and values to the cache.

    qkv [tokens, heads + 2 * groups, dim], cos and sin float32 [tokens, dim / 2], slots int64
    [tokens], keys and values [pages, page, groups, dim]: all contiguous.
    """
    tokens, rows, dim = qkv.shape
    _rotate_and_store[(tokens, triton.cdiv(rows, HEADS))](
        qkv,
        cos,
        sin,
        slots,
        keys,
        values,
        heads=heads,
        groups=keys.shape[2],
        half=dim // 2,
        half_padded=triton.next_power_of_2(dim // 2),
        block=HEADS,
        num_warps=4,
    )


def norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """Divide by the root mean square as Llama does: x [tokens, hidden] with contiguous rows, weight
    [hidden] -> [tokens, hidden], contiguous."""
    tokens, hidden = x.shape
    output = x.new_empty((tokens, hidden))
    padded = triton.next_power_of_2(hidden)
    _norm[(tokens,)](
        x,
        weight,
        output,
        x.stride(0),
        eps,
        hidden=hidden,
        padded=padded,
        num_warps=min(max(padded // 512, 1), 16),
    )
    return output


def gated(gate_up: torch.Tensor) -> torch.Tensor:
    """Multiply silu of the first half by the second: [tokens, 2 * width], contiguous -> [tokens,
    width], rounded once after silu and once after the product, as two operators would."""
    tokens, both = gate_up.shape
    output = gate_up.new_empty((tokens, both // 2))
    _gated[(tokens, triton.cdiv(both // 2, COLUMNS))](
        gate_up, output, width=both // 2, block=COLUMNS, num_warps=4
    )
    return output


@triton.jit
def _rotate_and_store(
    qkv: "tl.tensor",
    cos: "tl.tensor",
    sin: "tl.tensor",
    slots: "tl.tensor",
    keys: "tl.tensor",
    values: "tl.tensor",
    heads: tl.constexpr,
    groups: tl.constexpr,
    half: tl.constexpr,
    half_padded: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """`block` heads of one token: queries first, then keys, then values."""
    token = tl.program_id(0).to(tl.int64)
    head = (tl.program_id(1) * block + tl.arange(0, block))[:, None]
    lane = tl.arange(0, half_padded)[None, :]
    real = (head < heads + 2 * groups) & (lane < half)
    place = qkv + (token * (heads + 2 * groups) + head) * (2 * half) + lane
    kind = qkv.dtype.element_ty
    first = tl.load(place, mask=real, other=0.0)
    second = tl.load(place + half, mask=real, other=0.0)
    c = tl.load(cos + token * half + lane, mask=lane < half, other=0.0)
    s = tl.load(sin + token * half + lane, mask=lane < half, other=0.0)
    x, y = first.to(tl.float32), second.to(tl.float32)
    turned, turned_too = (x * c - y * s).to(kind), (y * c + x * s).to(kind)
    rotated = real & (head < heads + groups)
    tl.store(place, turned, mask=rotated)
    tl.store(place + half, turned_too, mask=rotated)
    slot = tl.load(slots + token) * (groups * 2 * half)
    key = rotated & (head >= heads)
    cell = keys + slot + (head - heads) * (2 * half) + lane
    tl.store(cell, turned, mask=key)
    tl.store(cell + half, turned_too, mask=key)
    value = real & (head >= heads + groups)
    cell = values + slot + (head - heads - groups) * (2 * half) + lane
    tl.store(cell, first, mask=value)
    tl.store(cell + half, second, mask=value)


@triton.jit
def _norm(
    x: "tl.tensor",
    weight: "tl.tensor",
    output: "tl.tensor",
    row: "tl.tensor",
    eps: "tl.tensor",
    hidden: tl.constexpr,
    padded: tl.constexpr,
) -> None:
    """One row, in float32 until it is cast; the product with the weight is rounded once more."""
    token = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, padded)
    real = lane < hidden
    kind = output.dtype.element_ty
    numbers = tl.load(x + token * row + lane, mask=real, other=0.0).to(tl.float32)
    mean_square = tl.sum(numbers * numbers, 0) / hidden
    normed = (numbers / tl.sqrt(mean_square + eps)).to(kind).to(tl.float32)
    factor = tl.load(weight + lane, mask=real, other=0.0).to(tl.float32)
    tl.store(output + token * hidden + lane, (normed * factor).to(kind), mask=real)


@triton.jit
def _gated(
    gate_up: "tl.tensor", output: "tl.tensor", width: tl.constexpr, block: tl.constexpr
) -> None:
    """`block` numbers of one row."""
    token = tl.program_id(0).to(tl.int64)
    lane = tl.program_id(1) * block + tl.arange(0, block)
    real = lane < width
    kind = output.dtype.element_ty
    gate = tl.load(gate_up + token * 2 * width + lane, mask=real, other=0.0).to(tl.float32)
    up = tl.load(gate_up + token * 2 * width + width + lane, mask=real, other=0.0)
    activated = (gate / (1.0 + tl.exp(-gate))).to(kind).to(tl.float32)
    tl.store(output + token * width + lane, (activated * up.to(tl.float32)).to(kind), mask=real)
