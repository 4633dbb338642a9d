"""Operations on vectors of numbers that numba lacks, written in LLVM's own language.

numba's loops leave it to LLVM to find what can be done 16 numbers at a time. It does not find the
two forms that attention needs: many dot products that are summed up together, and sums of rows that
stay in registers. Addresses and counts are int64, strides are in bytes. `size` is that of a stored
number: 4 is float32, 2 is bfloat16. What is a literal number is a constant of the model.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

WIDEST = 16 if llvm.get_host_cpu_features().get("avx512f") else 8
_FAST = ("contract", "reassoc")
_I64, _I32, _I16, _F32 = ir.IntType(64), ir.IntType(32), ir.IntType(16), ir.FloatType()
_BYTES = ir.IntType(8).as_pointer()


def width(dim: int) -> int:
    """How many numbers at a time suit rows of `dim`."""
    return min(WIDEST, dim & -dim)


@intrinsic
def pointer(_context: Any, address: Any) -> Any:
    """The pointer to an address."""

    def emit(_context: Any, b: Any, _signature: Any, arguments: Any) -> Any:
        return b.inttoptr(arguments[0], _BYTES)

    return types.voidptr(types.int64), emit


@intrinsic
def take(_context: Any, counters: Any, index: Any) -> Any:
    """Add one to an int64 that other threads add to as well; returns what it was."""

    def emit(_context: Any, b: Any, _signature: Any, arguments: Any) -> Any:
        counter = b.gep(b.bitcast(arguments[0], _I64.as_pointer()), [arguments[1]])
        return b.atomic_rmw("add", counter, _int(1), "monotonic")

    return types.int64(types.voidptr, types.int64), emit


@intrinsic(prefer_literal=True)
def scores(
    _context: Any,
    rows: Any,
    dim: Any,
    size: Any,
    q: Any,
    q_stride: Any,
    k: Any,
    k_stride: Any,
    n: Any,
    s: Any,
    s_stride: Any,
    soon: Any,
) -> Any:
    """Multiply queries by keys: q [rows] rows of dim, k [n] rows of dim -> s [rows] rows of n
    float32, behind each of which up to 15 more are overwritten.

    Meanwhile as many rows as are multiplied are asked for at `soon`, k_stride apart, unless it is a
    literal 0.
    """
    queries, across, stored = rows.literal_value, dim.literal_value, size.literal_value
    lanes = width(across)

    def emit(context: Any, b: Any, _signature: Any, arguments: Any) -> Any:
        q, q_stride, k, k_stride, n, s, s_stride, ahead = arguments[3:]
        last = b.sub(n, _int(1))
        for start, count in _blocks(queries, min(4, lanes)):
            tile = lanes // count
            q_rows = [_row(b, q, q_stride, _int(start + i)) for i in range(count)]
            s_rows = [_row(b, s, s_stride, _int(start + i)) for i in range(count)]
            tiles = b.udiv(b.add(n, _int(tile - 1)), _int(tile))
            with cgutils.for_range(b, tiles) as loop:
                first = b.mul(loop.index, _int(tile))
                keys = []
                for i in range(tile):  # behind the last key, the last one again
                    at = b.add(first, _int(i))
                    at = b.select(b.icmp_signed("<", at, last), at, last)
                    keys.append(_row(b, k, k_stride, at))
                    if start == 0 and not isinstance(soon, types.Literal):
                        _prefetch(b, _row(b, ahead, k_stride, at), across * stored)
                totals = _dots(b, q_rows, keys, across, stored)
                for i, row in enumerate(s_rows):
                    part = _pick(b, totals, totals, range(i * tile, (i + 1) * tile))
                    _store(b, part, 4, _row(b, row, _int(4), first), 0)
        return context.get_dummy_value()

    return types.void(rows, dim, size, *[types.int64] * 7, soon), emit


@intrinsic(prefer_literal=True)
def mix(
    _context: Any,
    rows: Any,
    dim: Any,
    size: Any,
    w: Any,
    w_stride: Any,
    v: Any,
    v_stride: Any,
    n: Any,
    o: Any,
    o_stride: Any,
    soon: Any,
) -> Any:
    """Add up values by their weights: w [rows] rows of n float32, v [n] rows of dim -> added to o
    [rows] rows of dim float32. `soon` is as for scores."""
    queries, across, stored = rows.literal_value, dim.literal_value, size.literal_value
    lanes = width(across)
    vector = ir.VectorType(_F32, lanes)

    def block(b: Any, arguments: Any, start: int, count: int, places: Sequence[int]) -> None:
        w, w_stride, v, v_stride, n, o, o_stride, ahead = arguments
        weights = [_row(b, w, w_stride, _int(start + i)) for i in range(count)]
        outputs = [_row(b, o, o_stride, _int(start + i)) for i in range(count)]
        sums = {(i, d): cgutils.alloca_once(b, vector) for i in range(count) for d in places}
        for (i, d), total in sums.items():
            b.store(_load(b, 4, outputs[i], d, lanes), total)
        with cgutils.for_range(b, n) as loop:
            value = _row(b, v, v_stride, loop.index)
            if start == 0 and places[0] == 0 and not isinstance(soon, types.Literal):
                _prefetch(b, _row(b, ahead, v_stride, loop.index), across * stored)
            values = {d: _load(b, stored, value, d, lanes) for d in places}
            for i in range(count):
                at = b.inttoptr(_row(b, weights[i], _int(4), loop.index), _F32.as_pointer())
                weight = b.insert_element(ir.Constant(vector, ir.Undefined), b.load(at), _I32(0))
                weight = _pick(b, weight, weight, [0] * lanes)
                for d in places:
                    b.store(_plus_product(b, b.load(sums[i, d]), weight, values[d]), sums[i, d])
        for (i, d), total in sums.items():
            _store(b, b.load(total), 4, outputs[i], d)

    def emit(context: Any, b: Any, _signature: Any, arguments: Any) -> Any:
        for start, count in _blocks(queries, 4):
            for first, blocks in _blocks(across // lanes, 4):
                places = range(first * lanes, (first + blocks) * lanes, lanes)
                block(b, arguments[3:], start, count, places)
        return context.get_dummy_value()

    return types.void(rows, dim, size, *[types.int64] * 7, soon), emit


@intrinsic(prefer_literal=True)
def turn(_context: Any, dim: Any, size: Any, x: Any, cos: Any, sin: Any, to: Any) -> Any:
    """Rotate the first half of a row of `dim` with its second half, from x to `to`; cos and sin
    are rows of dim / 2 float32."""
    half, stored = dim.literal_value // 2, size.literal_value
    lanes = width(half)

    def emit(context: Any, b: Any, _signature: Any, arguments: Any) -> Any:
        x, cos, sin, to = arguments[2:]
        for d in range(0, half, lanes):
            left, right = (_load(b, stored, x, at, lanes) for at in (d, d + half))
            c, s = (_load(b, 4, at, d, lanes) for at in (cos, sin))
            first = b.fsub(b.fmul(left, c, flags=_FAST), b.fmul(right, s, flags=_FAST), flags=_FAST)
            second = _plus_product(b, b.fmul(right, c, flags=_FAST), left, s)
            _store(b, first, stored, to, d)
            _store(b, second, stored, to, d + half)
        return context.get_dummy_value()

    return types.void(dim, size, *[types.int64] * 4), emit


@intrinsic
def widen(_context: Any, x: Any) -> Any:
    """A stored number, float32 or the uint16 of a bfloat16, as float32."""

    def emit(_context: Any, b: Any, _signature: Any, arguments: Any) -> Any:
        return _widened(b, arguments[0])

    return types.float32(x), emit


@intrinsic
def narrow(_context: Any, x: Any, like: Any) -> Any:
    """A float32 as a number of the kind that another is stored as."""

    def emit(_context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        return _narrowed(b, arguments[0], 2 if signature.args[1] == types.uint16 else 4)

    return like(types.float32, like), emit


def _blocks(count: int, most: int) -> Iterator[tuple[int, int]]:
    """Cut a count into powers of two, none above `most`: where each begins, and its length."""
    start = 0
    while start < count:
        length = min(most, 1 << ((count - start).bit_length() - 1))
        yield start, length
        start += length


def _dots(b: Any, queries: Sequence[Any], keys: Sequence[Any], dim: int, size: int) -> Any:
    """The dot products of rows, queries outermost, as one vector: there are as many as it has
    places."""
    lanes = len(queries) * len(keys)
    totals: list[Any] = [None] * lanes
    for d in range(0, dim, lanes):
        loaded = [_load(b, size, query, d, lanes) for query in queries]
        for j, address in enumerate(keys):
            key = _load(b, size, address, d, lanes)
            for i, query in enumerate(loaded):
                at = i * len(keys) + j
                totals[at] = _plus_product(b, totals[at], query, key)
    even, odd = range(0, 2 * lanes, 2), range(1, 2 * lanes, 2)
    while len(totals) > 1:  # halve the vectors, and what is still apart within each
        totals = [
            b.fadd(_pick(b, x, y, even), _pick(b, x, y, odd), flags=_FAST)
            for x, y in zip(totals[::2], totals[1::2], strict=True)
        ]
    return totals[0]


def _prefetch(b: Any, address: Any, length: int) -> None:
    """Ask for so many bytes, to be in the second cache when they are needed."""
    kind = ir.FunctionType(ir.VoidType(), [_BYTES, _I32, _I32, _I32])
    ask = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0")
    for byte in range(0, length, 64):
        at = b.inttoptr(b.add(address, _int(byte)), _BYTES)
        b.call(ask, [at, _I32(0), _I32(2), _I32(1)])


def _plus_product(b: Any, total: Any, x: Any, y: Any) -> Any:
    product = b.fmul(x, y, flags=_FAST)
    return product if total is None else b.fadd(product, total, flags=_FAST)


def _row(b: Any, address: Any, stride: Any, index: Any) -> Any:
    return b.add(address, b.mul(stride, index))


def _int(number: int) -> Any:
    return ir.Constant(_I64, number)


def _pick(b: Any, x: Any, y: Any, places: Sequence[int]) -> Any:
    """Those numbers of two vectors, one behind the other, that are at some places."""
    return b.shuffle_vector(x, y, ir.Constant(ir.VectorType(_I32, len(places)), list(places)))


def _load(b: Any, size: int, address: Any, at: int, lanes: int) -> Any:
    kind = ir.VectorType(_F32 if size == 4 else _I16, lanes)
    place = b.inttoptr(b.add(address, _int(at * size)), kind.as_pointer())
    return _widened(b, b.load(place, align=size))


def _store(b: Any, x: Any, size: int, address: Any, at: int) -> None:
    x = _narrowed(b, x, size)
    place = b.inttoptr(b.add(address, _int(at * size)), x.type.as_pointer())
    b.store(x, place, align=size)


def _widened(b: Any, x: Any) -> Any:
    if _element(x) != _I16:
        return x
    bits = b.zext(x, _like(x, _I32))
    return b.bitcast(b.shl(bits, _all(bits, 16)), _like(x, _F32))


def _narrowed(b: Any, x: Any, size: int) -> Any:
    """Round float32 to the nearest bfloat16, halves to even, where that is what is stored."""
    if size == 4:
        return x
    bits = b.bitcast(x, _like(x, _I32))
    odd = b.and_(b.lshr(bits, _all(bits, 16)), _all(bits, 1))
    rounded = b.add(bits, b.add(odd, _all(bits, 0x7FFF)))
    rounded = b.select(b.fcmp_unordered("uno", x, x), _all(bits, 0x7FC00000), rounded)
    return b.trunc(b.lshr(rounded, _all(bits, 16)), _like(x, _I16))


def _element(x: Any) -> Any:
    return x.type.element if isinstance(x.type, ir.VectorType) else x.type


def _like(x: Any, element: Any) -> Any:
    return ir.VectorType(element, x.type.count) if isinstance(x.type, ir.VectorType) else element


def _all(x: Any, number: int) -> Any:
    """A constant of the type of x, the same number at all places."""
    if isinstance(x.type, ir.VectorType):
        return ir.Constant(x.type, [number] * x.type.count)
    return ir.Constant(x.type, number)
