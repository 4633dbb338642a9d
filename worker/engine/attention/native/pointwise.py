"""What a decoder layer does token by token: norm, and rotation with the way to the cache."""

from functools import cache
from typing import Any

import numpy as np
from numba import carray

from worker.engine.attention.native.compiling import SOURCE, address, fields, stored
from worker.engine.attention.native.simd import narrow, pointer, take, turn, widen

BLOCK = 16
"""How many tokens are one task."""

ROTATE = fields("qkv", "cos", "sin", "slots", "keys", "values", "tokens", "heads", "groups")
NORM = fields("out", "x", "weight", "tokens", "eps")


@cache
def rotate(dim: int, size: int) -> int:
    """The function that rotates queries and keys in place and copies keys and values to the cache,
    for heads of `dim` numbers of `size` bytes."""
    kind, source = stored(size), SOURCE

    def run(arguments: Any) -> None:
        _ = source
        a = carray(arguments, 1, ROTATE)[0]
        row, turned = dim * size, a.heads + a.groups
        slots = carray(pointer(a.slots), a.tokens, np.int64)
        while True:
            first = take(arguments, 0) * BLOCK
            if first >= a.tokens:
                break
            for token in range(first, min(first + BLOCK, a.tokens)):
                x = a.qkv + token * (turned + a.groups) * row
                cos, sin = a.cos + token * dim * 2, a.sin + token * dim * 2
                for head in range(turned):
                    turn(dim, size, x + head * row, cos, sin, x + head * row)
                length = a.groups * dim
                to = np.int64(slots[token]) * length
                key = carray(pointer(x + a.heads * row), length, kind)
                value = carray(pointer(x + turned * row), length, kind)
                keys = carray(pointer(a.keys + to * size), length, kind)
                values = carray(pointer(a.values + to * size), length, kind)
                for i in range(length):
                    keys[i] = key[i]
                for i in range(length):
                    values[i] = value[i]

    return address(run)


@cache
def norm(hidden: int, size: int) -> int:
    """The function that divides rows of `hidden` numbers of `size` bytes by their root mean
    square."""
    kind, source = stored(size), SOURCE

    def run(arguments: Any) -> None:
        _ = source
        a = carray(arguments, 1, NORM)[0]
        eps = np.float32(a.eps)
        weight = carray(pointer(a.weight), hidden, kind)
        while True:
            first = take(arguments, 0) * BLOCK
            if first >= a.tokens:
                break
            for token in range(first, min(first + BLOCK, a.tokens)):
                x = carray(pointer(a.x + token * hidden * size), hidden, kind)
                out = carray(pointer(a.out + token * hidden * size), hidden, kind)
                square = np.float32(0)
                for i in range(hidden):
                    square += widen(x[i]) * widen(x[i])
                factor = np.float32(1) / np.sqrt(square / np.float32(hidden) + eps)
                for i in range(hidden):
                    normal = widen(narrow(widen(x[i]) * factor, x[i]))
                    out[i] = narrow(normal * widen(weight[i]), x[i])

    return address(run)
