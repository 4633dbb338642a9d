"""Attention of requests that generate, straight from the pages of the cache, in Triton.

The keys of each request are split among several programs, so that one long request keeps a whole
GPU busy, too; a second kernel joins what they found. (The idea is Flash-Decoding's: Dao et al.,
https://crfm.stanford.edu/2023/10/12/flashdecoding.html.) All query heads of a group are the rows of
one matrix product, so that each key and each value is read once.
"""

import math

import torch
import triton
import triton.language as tl

SPLITS = (1, 2, 4, 8, 16, 32)
"""Into how many parts the keys of a request may be split; each compiles a kernel of its own."""

PROGRAMS = 16
"""Programs to have at least for each multiprocessor: with three or so resident at a time, ragged
lengths leave few of them idle at the end."""

NARROWEST = 16
"""The least rows and columns of a matrix product in Triton (`tl.dot`)."""


def splits_for(rows: int, groups: int, multiprocessors: int) -> int:
    """Into how many parts to split the keys of `rows` requests: one of SPLITS.

    It depends on no length, so that a captured graph stays valid as requests grow.
    """
    wanted = math.ceil(PROGRAMS * multiprocessors / max(rows * groups, 1))
    return next((splits for splits in SPLITS if splits >= wanted), SPLITS[-1])


def decode(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    table: torch.Tensor,
    lengths: torch.Tensor,
    scale: float,
    splits: int,
    block: int,
) -> torch.Tensor:
    """Attend with one query a request to all its keys.

    query [rows, heads, dim] with contiguous heads, keys and values [pages, page, groups, dim]
    contiguous, table int32 [rows, pages] with contiguous rows, lengths int32 [rows], each at least
    1; splits one of SPLITS, block a power of two -> [rows, heads, dim], contiguous.
    """
    rows, heads, dim = query.shape
    page, groups = keys.shape[1:3]
    found = query.new_empty((rows, heads, splits, dim), dtype=torch.float32)
    logs = query.new_empty((rows, heads, splits), dtype=torch.float32)
    output = query.new_empty((rows, heads, dim))
    padded = max(triton.next_power_of_2(dim), NARROWEST)
    _attend[(groups, rows, splits)](
        query,
        keys,
        values,
        table,
        lengths,
        found,
        logs,
        scale * math.log2(math.e),
        query.stride(0),
        table.stride(0),
        groups=groups,
        shared=heads // groups,
        shared_padded=max(triton.next_power_of_2(heads // groups), NARROWEST),
        dim=dim,
        dim_padded=padded,
        page=page,
        splits=splits,
        block=block,
        num_warps=4,
        num_stages=3,
    )
    _join[(heads, rows)](
        found,
        logs,
        lengths,
        output,
        dim=dim,
        dim_padded=padded,
        splits=splits,
        block=block,
        num_warps=4 if splits >= 8 else 1,
    )
    return output


@triton.jit(do_not_specialize=["table_row"])
def _attend(
    query: "tl.tensor",
    keys: "tl.tensor",
    values: "tl.tensor",
    table: "tl.tensor",
    lengths: "tl.tensor",
    found: "tl.tensor",
    logs: "tl.tensor",
    scale: "tl.tensor",
    query_row: "tl.tensor",
    table_row: "tl.tensor",
    groups: tl.constexpr,
    shared: tl.constexpr,
    shared_padded: tl.constexpr,
    dim: tl.constexpr,
    dim_padded: tl.constexpr,
    page: tl.constexpr,
    splits: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """One part of the keys of one request, for all `shared` query heads of one group.

    Leaves in `found` the weighted mean of the values of that part and in `logs` the logarithm to
    base 2 of the sum of its weights; nothing where the part is empty. `scale` is to base 2, too.
    """
    group = tl.program_id(0)
    row = tl.program_id(1).to(tl.int64)
    split = tl.program_id(2)
    length = tl.load(lengths + row)
    part = tl.cdiv(tl.cdiv(length, block), splits) * block
    first = split * part
    last = tl.minimum(first + part, length)
    if first < last:
        head = tl.arange(0, shared_padded)
        lane = tl.arange(0, dim_padded)
        mine = (head < shared)[:, None] & (lane < dim)[None, :]
        heads = (group * shared + head)[:, None]
        q = tl.load(query + row * query_row + heads * dim + lane[None, :], mask=mine, other=0.0)
        top = tl.full([shared_padded], float("-inf"), tl.float32)
        total = tl.zeros([shared_padded], tl.float32)
        mean = tl.zeros([shared_padded, dim_padded], tl.float32)
        for start in range(first, last, block):
            place = start + tl.arange(0, block)
            there = place < last
            pages = tl.load(table + row * table_row + place // page, mask=there, other=0)
            slot = pages.to(tl.int64) * page + place % page  # a cache has more than 2^31 numbers
            cell = slot * (groups * dim) + group * dim
            real = there[:, None] & (lane < dim)[None, :]
            k = tl.load(keys + cell[:, None] + lane[None, :], mask=real, other=0.0)
            v = tl.load(values + cell[:, None] + lane[None, :], mask=real, other=0.0)
            score = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
            score = tl.where(there[None, :], score, float("-inf"))
            higher = tl.maximum(top, tl.max(score, 1))
            weight = tl.exp2(score - higher[:, None])
            before = tl.exp2(top - higher)
            total = total * before + tl.sum(weight, 1)
            mean = mean * before[:, None]
            mean += tl.dot(weight.to(v.dtype), v, input_precision="ieee")
            top = higher
        place_of = (row * groups * shared + heads) * splits + split
        tl.store(found + place_of * dim + lane[None, :], mean / total[:, None], mask=mine)
        cell_of = (row * groups * shared + group * shared + head) * splits + split
        tl.store(logs + cell_of, top + tl.log2(total), mask=head < shared)


@triton.jit
def _join(
    found: "tl.tensor",
    logs: "tl.tensor",
    lengths: "tl.tensor",
    output: "tl.tensor",
    dim: tl.constexpr,
    dim_padded: tl.constexpr,
    splits: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """The mean of the parts of one head of one request, each weighted by its sum of weights."""
    row = tl.program_id(1).to(tl.int64)
    head = row * tl.num_programs(0) + tl.program_id(0)
    blocks = tl.cdiv(tl.load(lengths + row), block)
    split = tl.arange(0, splits)
    used = split < tl.cdiv(blocks, tl.cdiv(blocks, splits))  # the others were left as they are
    lane = tl.arange(0, dim_padded)
    log = tl.load(logs + head * splits + split, mask=used, other=float("-inf"))
    weight = tl.exp2(log - tl.max(log, 0))
    cells = (head * splits + split)[:, None] * dim + lane[None, :]
    parts = tl.load(found + cells, mask=used[:, None] & (lane < dim)[None, :], other=0.0)
    mean = tl.sum(parts * weight[:, None], 0) / tl.sum(weight, 0)
    tl.store(output + head * dim + lane, mean.to(output.dtype.element_ty), mask=lane < dim)
