"""Compiles each Triton kernel for GPUs that are not there, at the sizes of the released models, and
prints as JSON how much shared memory each needs."""

import json
import sys
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from tests.unit.engine.attention.sizes import MODELS
from worker.engine.attention import triton_decode, triton_elementwise
from worker.engine.attention.gpu import BLOCK, OLD_BLOCK
from worker.engine.attention.trial import Shape
from worker.engine.model import triton_fp8

ALIGNED = [["tt.divisibility", 16]]


class Recorder:
    """Stands in for a kernel: compiles it for the arguments of a launch instead of launching it."""

    def __init__(self, kernel: Any, capability: int) -> None:
        self._kernel, self._capability = kernel, capability
        self.shared = 0

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        assert all(0 < size < 2**31 for size in grid[:1])
        assert all(0 < size < 2**16 for size in grid[1:])
        return self._compile

    def _compile(self, *args: Any, num_warps: int, num_stages: int = 3, **constants: Any) -> None:
        names = self._kernel.arg_names
        kinds = dict.fromkeys(names, "constexpr")
        aligned = {}
        for place, (name, given) in enumerate(zip(names, args, strict=False)):
            kinds[name] = _kind(given)
            if kinds[name].startswith("*"):
                aligned[(place,)] = ALIGNED
        values = {(names.index(name),): value for name, value in constants.items()}
        done = triton.compile(
            ASTSource(self._kernel, kinds, constexprs=values, attrs=aligned),
            target=GPUTarget("cuda", self._capability, 32),
            options={"num_warps": num_warps, "num_stages": num_stages},
        )
        self.shared = max(self.shared, done.metadata.shared)


def _kind(given: Any) -> str:
    """The type of an argument as Triton names it."""
    if isinstance(given, float):
        return "fp32"
    if isinstance(given, int):
        return "i32"
    name = str(given.dtype).removeprefix("torch.")
    return f"*{triton.runtime.jit.type_canonicalisation_dict[name]}"


def launches(shape: Shape, dtype: Any, tokens: int, block: int) -> None:
    """Call each kernel as a step of so many tokens would, on tensors without memory."""
    import torch

    def new(*sizes: int, of: Any = dtype) -> Any:
        return torch.empty(*sizes, dtype=of, device="meta")

    rows, half = shape.heads + 2 * shape.groups, shape.dim // 2
    keys = new(2600, 256, shape.groups, shape.dim)
    qkv = new(tokens, rows, shape.dim)
    turns = new(tokens, half, of=torch.float32), new(tokens, half, of=torch.float32)
    slots = new(tokens, of=torch.int64)
    triton_elementwise.rotate_and_store(qkv, *turns, slots, keys, keys, shape.heads)
    assert triton_elementwise.norm(new(tokens, shape.hidden), new(shape.hidden), 1e-5).shape == (
        tokens,
        shape.hidden,
    )
    assert triton_elementwise.gated(new(tokens, 2 * shape.intermediate)).shape == (
        tokens,
        shape.intermediate,
    )
    for requests in (1, 64, 256):
        splits = triton_decode.splits_for(requests, shape.groups, multiprocessors=132)
        query = new(requests, rows, shape.dim)[:, : shape.heads]
        table, lengths = new(requests, 16, of=torch.int32), new(requests, of=torch.int32)
        output = triton_decode.decode(query, keys, keys, table, lengths, 0.1, splits, block)
        assert output.shape == query.shape


def main(capability: int) -> None:
    """Compile everything for one compute capability, such as 90."""
    import torch

    dtype = torch.bfloat16 if capability >= 80 else torch.float16
    kernels: dict[str, Recorder] = {}
    for module in (triton_decode, triton_elementwise, triton_fp8):
        for name in dir(module):
            if isinstance(getattr(module, name), triton.runtime.JITFunction):
                kernels[name] = Recorder(getattr(module, name), capability)
                setattr(module, name, kernels[name])
    for shape in MODELS.values():
        launches(shape, dtype, tokens=8192, block=BLOCK if capability >= 80 else OLD_BLOCK)
        if capability >= 89:
            for width in (shape.hidden, shape.intermediate):
                triton_fp8.rows_to_float8(torch.empty(8192, width, dtype=dtype, device="meta"))
    sys.stdout.write(json.dumps({name: kernel.shared for name, kernel in kernels.items()}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
