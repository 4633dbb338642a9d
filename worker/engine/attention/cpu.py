"""Kernels for a CPU: compiled functions on torch's threads."""

import struct
from ctypes import create_string_buffer
from typing import Any

import torch

from worker.engine.attention.kernels import DecodeStep, PromptStep
from worker.engine.attention.native import decode, openmp, pointwise, prompt
from worker.engine.attention.reference import Reference

_SIZES = {torch.float32: 4, torch.bfloat16: 2}


class Cpu(Reference):
    """Kernels for a CPU (see worker.engine.attention.kernels.Kernels).

    They serve float32 and bfloat16, and heads of a multiple of 8 numbers; a batch has its own.
    """

    def __init__(self) -> None:
        self._scratch = torch.empty(0, dtype=torch.uint8)

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
        """Rotate in place; query, key and value are views of qkv."""
        tokens, rows, dim = qkv.shape
        groups = keys.shape[2]
        arguments = _ROTATE(
            0, 0, qkv.data_ptr(), cos.data_ptr(), sin.data_ptr(), slots.data_ptr(),
            keys.data_ptr(), values.data_ptr(), tokens, heads, groups,
        )  # fmt: skip
        size = _SIZES[qkv.dtype]
        function = pointwise.rotate(dim, size)
        openmp.run(function, create_string_buffer(arguments), tokens * rows * dim * size)
        key = heads + groups
        return qkv[:, :heads], qkv[:, heads:key], qkv[:, key:]

    def prompt(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        step: PromptStep,
        scale: float,
    ) -> torch.Tensor:
        """Attend block by block of the queries of one head."""
        tokens, heads, dim = query.shape
        size = _SIZES[query.dtype]
        output = torch.empty((tokens, heads, dim), dtype=query.dtype)
        width = _width(step.longest[1])
        arguments = _PROMPT(
            0, 0, output.data_ptr(), query.data_ptr(), query.stride(0) * size, key.data_ptr(),
            key.stride(0) * size, value.data_ptr(), value.stride(0) * size, step.starts.data_ptr(),
            step.key_starts.data_ptr(), len(step.starts) - 1, heads,
            self._room(prompt.scratch(dim, width)), width, scale,
        )  # fmt: skip
        function = prompt.compiled(heads // key.shape[1], dim, size)
        openmp.run(function, create_string_buffer(arguments), tokens * heads * dim * size * 8)
        return output

    def decode(
        self,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        step: DecodeStep,
        scale: float,
    ) -> torch.Tensor:
        """Attend request by request, or group by group where there are few of them."""
        (rows, heads, dim), (_, page, groups, _) = query.shape, keys.shape
        table, size = step.table, _SIZES[query.dtype]
        output = torch.empty((rows, heads, dim), dtype=query.dtype)
        width = _width(table.shape[1] * page)
        parts = groups if rows < 4 * torch.get_num_threads() else 1
        arguments = _DECODE(
            0, 0, output.data_ptr(), query.data_ptr(), query.stride(0) * size, keys.data_ptr(),
            values.data_ptr(), table.data_ptr(), table.stride(0), step.lengths.data_ptr(), rows,
            groups, parts, page, self._room(decode.scratch(heads, parts, dim, width)), width, scale,
        )  # fmt: skip
        function = decode.compiled(heads // groups, dim, size)
        openmp.run(function, create_string_buffer(arguments), rows * width * groups * dim * size)
        return output

    def norm(self, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        """Norm row by row, in one pass over the memory of each."""
        x = x.contiguous()
        output = torch.empty_like(x)
        tokens, hidden = x.shape
        size = _SIZES[x.dtype]
        arguments = _NORM(0, 0, output.data_ptr(), x.data_ptr(), weight.data_ptr(), tokens, eps)
        function = pointwise.norm(hidden, size)
        openmp.run(function, create_string_buffer(arguments), tokens * hidden * size)
        return output

    def _room(self, bytes_a_thread: int) -> int:
        """The address of what each thread notes its scores in."""
        needed = bytes_a_thread * torch.get_num_threads()
        if self._scratch.numel() < needed:
            self._scratch = torch.empty(2 * needed, dtype=torch.uint8)
        return self._scratch.data_ptr()


def _width(keys: int) -> int:
    """The numbers of a row of scores: those of its keys, and what may be written behind them."""
    return keys // 16 * 16 + 32


def _format(fields: Any) -> Any:
    """What packs arguments as the fields that a compiled function reads."""
    return struct.Struct("".join({"i": "q", "f": "d"}[fields[name].kind] for name in fields.names))


_ROTATE = _format(pointwise.ROTATE).pack
_NORM = _format(pointwise.NORM).pack
_PROMPT = _format(prompt.ARGUMENTS).pack
_DECODE = _format(decode.ARGUMENTS).pack
