"""Causal attention within requests whose keys lie one behind the other."""

from functools import cache
from typing import Any

import numpy as np
from numba import carray, njit

from worker.engine.attention.native.compiling import (
    MATHS,
    SOURCE,
    address,
    clear,
    fields,
    softmax,
    stored,
    write,
)
from worker.engine.attention.native.simd import mix, pointer, scores, take

TOGETHER = 16
"""How many queries are multiplied at a time, so that keys are read once for all of them."""
CHUNK = 32
"""How many keys are multiplied by these at a time, so that they stay in the first cache."""
BLOCK = 64
"""How many queries of one head are a task."""

ARGUMENTS = fields(
    "out", "query", "query_stride", "key", "key_stride", "value", "value_stride", "starts",
    "key_starts", "requests", "heads", "scratch", "width", "scale",
)  # fmt: skip


def scratch(dim: int, width: int) -> int:
    """The bytes that each thread needs: rows of scores and of sums for the queries of a time."""
    return TOGETHER * (width + dim + 1) * 4


@njit(**MATHS)
def _find(starts: Any, requests: int, block: int) -> tuple[int, int]:
    """Which request a block of queries belongs to, and which of its blocks it is."""
    for request in range(requests):
        blocks = (starts[request + 1] - starts[request] + BLOCK - 1) // BLOCK
        if block < blocks:
            return request, block
        block -= blocks
    return -1, 0


@njit(inline="always", **MATHS)
def _attend(together: int, dim: int, size: int, kind: Any, a: Any, work: int, query: int, key: int,
            value: int, out: int, seen: int, scale: Any) -> None:  # fmt: skip
    """Attend with the next queries of a head, the first of which sees so many keys."""
    line, sums, last = a.width * 4, work + together * a.width * 4, seen + together - 1
    factors = carray(pointer(sums + together * dim * 4), together, np.float32)
    for i in range(0, last, CHUNK):
        scores(together, dim, size, query, a.query_stride, key + i * a.key_stride, a.key_stride,
               min(CHUNK, last - i), work + i * 4, line, 0)  # fmt: skip
    for i in range(together):
        factors[i] = softmax(work + i * line, seen + i, scale)
        clear(work + i * line + (seen + i) * 4, together - 1 - i)
    clear(sums, together * dim)
    for i in range(0, last, CHUNK):
        mix(together, dim, size, work + i * 4, line, value + i * a.value_stride, a.value_stride,
            min(CHUNK, last - i), sums, dim * 4, 0)  # fmt: skip
    for i in range(together):
        write(out + i * a.heads * dim * size, sums + i * dim * 4, dim, factors[i], kind)


@cache
def compiled(share: int, dim: int, size: int) -> int:
    """The function for heads of `dim` numbers of `size` bytes, `share` of which have their keys in
    common. A task is one block of the queries of one request and head."""
    kind, source, many = stored(size), SOURCE, TOGETHER

    def run(arguments: Any) -> None:
        _ = source
        a = carray(arguments, 1, ARGUMENTS)[0]
        scale, row = np.float32(a.scale), dim * size
        starts = carray(pointer(a.starts), a.requests + 1, np.int32)
        key_starts = carray(pointer(a.key_starts), a.requests + 1, np.int32)
        work = a.scratch + take(arguments, 1) * many * (a.width + dim + 1) * 4
        while True:
            task = take(arguments, 0)
            request, block = _find(starts, a.requests, task // a.heads)
            if request < 0:
                break
            head = task % a.heads
            start, end = np.int64(starts[request]), np.int64(starts[request + 1])
            first = np.int64(key_starts[request])
            cached = np.int64(key_starts[request + 1]) - first - (end - start)
            key = a.key + first * a.key_stride + head // share * row
            value = a.value + first * a.value_stride + head // share * row
            now, until = start + block * BLOCK, min(end, start + (block + 1) * BLOCK)
            while now < until:
                query = a.query + now * a.query_stride + head * row
                out, seen = a.out + (now * a.heads + head) * row, cached + now - start + 1
                if until - now >= many:
                    _attend(many, dim, size, kind, a, work, query, key, value, out, seen, scale)
                    now += many
                elif until - now >= 4:
                    _attend(4, dim, size, kind, a, work, query, key, value, out, seen, scale)
                    now += 4
                else:
                    _attend(1, dim, size, kind, a, work, query, key, value, out, seen, scale)
                    now += 1

    return address(run)
