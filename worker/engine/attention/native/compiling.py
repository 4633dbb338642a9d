"""How functions are compiled, kept and given their arguments, and the steps that they share.

A compiled function is a `void function(void *arguments)`. Its arguments are fields of eight bytes,
of which the first two are counters, zero at first: every thread calls it, and takes the next task
until there are none (see openmp).
"""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numba import carray, cfunc, njit, types

from worker.engine.attention.native import simd

SAFE = {"reassoc", "contract", "nsz"}
"""What LLVM may assume of sums and products: all but that numbers are finite."""
MATHS: dict[str, Any] = {"fastmath": SAFE, "error_model": "numpy"}

SOURCE = int.from_bytes(
    sha256(Path(simd.__file__).read_bytes() + Path(__file__).read_bytes()).digest()[:6]
)
"""What a compiled function holds of other files than its own. numba loads what it compiled before
by a function's own file and free variables, so every function has this one among them."""

_KEPT: list[Any] = []  # compiled functions live as long as somebody holds them


def fields(*names: str) -> Any:
    """The fields of arguments: int64 each, but for a float64 called `scale` or `eps`."""
    kinds = {"scale": np.float64, "eps": np.float64}
    return np.dtype([(name, kinds.get(name, np.int64)) for name in ("task", "thread", *names)])


def stored(size: int) -> Any:
    """The type in which numba reads numbers of 4 bytes, float32, or of 2, bfloat16."""
    return np.float32 if size == 4 else np.uint16


def address(function: Callable[[Any], None]) -> int:
    """Compile a function, or load what was compiled before; returns its address.

    What is compiled is kept in `__pycache__` beside the file, else in the user's cache folder, and
    where neither can be written, nowhere.
    """
    signature = types.void(types.voidptr)
    try:
        compiled = cfunc(signature, cache=True, **MATHS)(function)
    except (OSError, RuntimeError):
        compiled = cfunc(signature, **MATHS)(function)
    _KEPT.append(compiled)
    return int(compiled.address)


@njit(inline="always", **MATHS)
def _exp(x: Any) -> Any:
    """e to the power of x, which is at most 0, by the polynomial of Cephes' exp2f."""
    x = np.float32(-87.0) if x < np.float32(-87.0) else x
    x = x * np.float32(1.4426950408889634)
    whole = np.floor(x + np.float32(0.5))
    x = x - whole
    power = np.float32(1.535336188319500e-4)
    power = power * x + np.float32(1.339887440266574e-3)
    power = power * x + np.float32(9.618437357674640e-3)
    power = power * x + np.float32(5.550332471162809e-2)
    power = power * x + np.float32(2.402264791363012e-1)
    power = power * x + np.float32(6.931472028550421e-1)
    power = power * x + np.float32(1.0)
    return power * np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)


@njit(fastmath=SAFE | {"nnan"}, error_model="numpy")
def _largest(x: Any) -> Any:
    top = x[0]
    for i in range(len(x)):
        top = max(top, x[i])
    return top


@njit(**MATHS)
def softmax(scores: int, n: int, scale: Any) -> Any:
    """Turn n scores at an address into weights; returns what their sums are to be multiplied by."""
    x = carray(simd.pointer(scores), n, np.float32)
    top, total = _largest(x), np.float32(0)
    for i in range(n):
        weight = _exp((x[i] - top) * scale)
        x[i] = weight
        total += weight
    return np.float32(1) / total


@njit(**MATHS)
def clear(at: int, n: int) -> None:
    """Set n float32 to zero."""
    x = carray(simd.pointer(at), n, np.float32)
    for i in range(n):
        x[i] = np.float32(0)


@njit(**MATHS)
def write(out: int, sums: int, n: int, factor: Any, kind: Any) -> None:
    """Write n float32 times a factor, as numbers of a kind."""
    x = carray(simd.pointer(sums), n, np.float32)
    y = carray(simd.pointer(out), n, kind)
    for i in range(n):
        y[i] = simd.narrow(x[i] * factor, y[i])
