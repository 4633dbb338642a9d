"""Before the first question each kernel is tried: right ones pass, wrong ones are named."""

from typing import Any

import pytest
import torch

from worker.engine.attention.gpu import OnGpu
from worker.engine.attention.reference import Reference
from worker.engine.attention.trial import Shape, try_all
from worker.engine.errors import ModelError

CPU = torch.device("cpu")
SHAPE = Shape(heads=8, groups=2, dim=64, hidden=96, intermediate=100)


def on_gpu() -> OnGpu:
    return OnGpu(4, Reference().prompt)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_the_kernels_pass(dtype: torch.dtype) -> None:
    try_all(on_gpu(), CPU, dtype, SHAPE, page=16, rows=(1, 3, 10))


@pytest.mark.parametrize("name", ["norm", "gated", "rotate_and_store", "prompt", "decode"])
def test_a_wrong_kernel_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = on_gpu()
    right = getattr(kernels, name)

    def wrong(*args: Any) -> Any:
        output = right(*args)
        (output[1] if name == "rotate_and_store" else output)[0, 0] += 1
        return output

    monkeypatch.setattr(kernels, name, wrong)
    with pytest.raises(ModelError, match=f"kernel {name} cannot be used.*numbers are wrong"):
        try_all(kernels, CPU, torch.float16, SHAPE, page=16, rows=(1,))


def test_a_kernel_that_reads_beyond_a_request_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = on_gpu()
    right = kernels._decode.decode

    def further(query: Any, keys: Any, values: Any, table: Any, lengths: Any, *rest: Any) -> Any:
        return right(query, keys, values, table, lengths + 1, *rest)

    monkeypatch.setattr(kernels._decode, "decode", further)
    with pytest.raises(ModelError, match="kernel decode"):
        try_all(kernels, CPU, torch.float16, SHAPE, page=16, rows=(3,))


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = on_gpu()

    def fail(*_: object) -> None:
        raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable")

    monkeypatch.setattr(kernels, "norm", fail)
    with pytest.raises(ModelError, match=r"install gcc.*LLAVA_JOBS_SLOW_ATTENTION"):
        try_all(kernels, CPU, torch.float16, SHAPE, page=16, rows=(1,))
