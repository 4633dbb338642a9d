"""Attention with one query a request, straight from the pages of the cache."""

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

TILE = 8
"""The most keys that are read at a time: a power of two that divides the page."""
AHEAD = 8 * 1024
"""How far ahead memory is asked for, in bytes. Pages lie anywhere, and what a processor guesses
ends with each: of pages of 16 KiB, 17 GB were read in a second so, and 7 without."""

ARGUMENTS = fields(
    "out", "query", "query_stride", "keys", "values", "table", "table_stride", "lengths", "rows",
    "groups", "parts", "page", "scratch", "width", "scale",
)  # fmt: skip


def scratch(heads: int, parts: int, dim: int, width: int) -> int:
    """The bytes that each thread needs: a row of scores and one of sums for each head."""
    return heads // parts * (width + dim + 1) * 4


@njit(**MATHS)
def _tile(a: Any, pages: Any, token: int, tile: int, tiles: int, i: int) -> Any:
    """The address of a tile of a request, of which there are first those of its keys and then those
    of its values; the last one where there are no more."""
    i = min(i, 2 * tiles - 1)
    base, key = (a.keys, i * tile) if i < tiles else (a.values, (i - tiles) * tile)
    return base + (np.int64(pages[key // a.page]) * a.page + key % a.page) * token


@cache
def compiled(share: int, dim: int, size: int) -> int:
    """The function for heads of `dim` numbers of `size` bytes, `share` of which have their keys in
    common. A task is one of the `parts` of the groups of one request."""
    kind, source = stored(size), SOURCE

    def run(arguments: Any) -> None:
        _ = source
        a = carray(arguments, 1, ARGUMENTS)[0]
        scale, groups, tile = np.float32(a.scale), a.groups // a.parts, min(TILE, a.page & -a.page)
        row, line = dim * size, a.width * 4
        token, mine = a.groups * row, groups * row
        ahead = max(1, AHEAD // (tile * mine))
        heads = groups * share
        weights = a.scratch + take(arguments, 1) * heads * (line + 4 + dim * 4)
        sums = weights + heads * line
        factors = carray(pointer(sums + heads * dim * 4), heads, np.float32)
        lengths = carray(pointer(a.lengths), a.rows, np.int32)
        while True:
            task = take(arguments, 0)
            if task >= a.rows * a.parts:
                break
            request, offset = task // a.parts, task % a.parts * mine
            pages = carray(pointer(a.table + request * a.table_stride * 4), 1 << 40, np.int32)
            query = a.query + request * a.query_stride + offset * share
            n = np.int64(lengths[request])
            tiles = (n + tile - 1) // tile
            for i in range(tiles):
                key = _tile(a, pages, token, tile, tiles, i) + offset
                soon = _tile(a, pages, token, tile, tiles, i + ahead) + offset
                to, count = weights + i * tile * 4, min(tile, n - i * tile)
                for g in range(groups):
                    scores(share, dim, size, query + g * share * row, row, key + g * row, token,
                           count, to + g * share * line, line, soon + g * row)  # fmt: skip
            for h in range(heads):
                factors[h] = softmax(weights + h * line, n, scale)
            clear(sums, heads * dim)
            for i in range(tiles):
                value = _tile(a, pages, token, tile, tiles, tiles + i) + offset
                soon = _tile(a, pages, token, tile, tiles, tiles + i + ahead) + offset
                of, count = weights + i * tile * 4, min(tile, n - i * tile)
                for g in range(groups):
                    mix(share, dim, size, of + g * share * line, line, value + g * row, token,
                        count, sums + g * share * dim * 4, dim * 4, soon + g * row)  # fmt: skip
            for h in range(heads):
                out = a.out + request * token * share + offset * share + h * row
                write(out, sums + h * dim * 4, dim, factors[h], kind)

    return address(run)
