"""Weights of fewer bits: the language model's linear layers, which are most of a model.

int8 and int4 are torchao's and nf4 is bitsandbytes', whose inputs stay as they are; fp8 is ours
(worker.engine.model.fp8).

Vision tower, projector, embeddings and output layer keep their precision: together they are a
twelfth of the smallest released model, and the answers depend on them most.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

from worker.engine.errors import ModelError
from worker.engine.model import fp8, nf4

Quantize = Literal["none", "int8", "fp8", "int4", "nf4"]

CAPABILITY = {"int4": (8, 0), "fp8": (8, 9), "nf4": (6, 0)}
"""The least CUDA compute capability (torchao's quantization/quant_api.py and bitsandbytes'
installation guide); int8 has none."""

IN_BFLOAT16 = {"int4", "fp8"}
"""What runs on a GPU alone, and in bfloat16 alone."""

INSTEAD = {"int4": "nf4", "fp8": "int8", "nf4": "int8"}
"""The nearest in size that asks less of a device."""

INT4_GROUP = 128


def check(mode: Quantize, device: str, dtype: str) -> None:
    """Raise ModelError if weights cannot be quantised to `mode` on this device in this precision.

    Meant to be asked before the weights are read.
    """
    if mode == "none":
        return
    if mode == "nf4":
        nf4.bitsandbytes()
    elif mode != "fp8":
        _check_torchao(mode)
    least = CAPABILITY.get(mode)
    on_gpu = device.startswith("cuda") and torch.cuda.is_available()
    if least is None or (not on_gpu and mode not in IN_BFLOAT16):
        return
    has = torch.cuda.get_device_capability(device) if on_gpu else None
    if has is None or has < least:
        found = f"{device} has {has[0]}.{has[1]}" if has else f"{device} is none"
        raise ModelError(
            f"Quantising to {mode} needs a GPU of CUDA compute capability {least[0]}.{least[1]} or "
            f"more and {found}; use {INSTEAD[mode]}, or load without quantising."
        )
    if dtype != "bfloat16" and mode in IN_BFLOAT16:
        raise ModelError(
            f"Quantising to {mode} needs bfloat16 and the model is to be {dtype}; load it in "
            f"bfloat16, or use {INSTEAD[mode]}."
        )


def quantize(model: Any, mode: Quantize, device: str, dtype: torch.dtype | None = None) -> None:
    """Quantise a model's language linears in place, each once it is on `device` in `dtype`, which
    is the model's own unless given.

    So a model that fits the device only when quantised never has to be there in full. Weights are
    int8 per output channel, int4 in groups of 128, nf4 in blocks of 64, or float8 per output
    channel with inputs made float8 per token at run time. Raises ModelError if the device has too
    little memory, or if products of float8 or nf4 cannot be used there or are wrong.
    """
    if mode == "none":
        return
    where, dtype = torch.device(device), dtype or model.dtype
    try:
        hold = _holder(mode, where, dtype)
        modules = model.model.language_model.named_modules()
        # By name: a list of the layers themselves would keep all of their plain weights.
        for name in [name for name, module in modules if type(module) is nn.Linear]:
            linear = model.model.language_model.get_submodule(name)
            model.model.language_model.set_submodule(name, hold(linear.to(where, dtype)))
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"The model does not fit {device} in {mode} either; use fewer bits or a larger device."
        ) from error


def _holder(
    mode: Quantize, device: torch.device, dtype: torch.dtype
) -> Callable[[nn.Linear], nn.Module]:
    """What makes a linear layer one whose weight is held as `mode` says."""
    if mode == "fp8":
        fp8.try_products(device)
        return fp8.Fp8Linear.of
    if mode == "nf4":
        nf4.try_products(device, dtype)
        return nf4.Nf4Linear
    from torchao.quantization import quantize_

    config = _config(mode)

    def hold(linear: nn.Linear) -> nn.Module:
        quantize_(linear, config)
        return linear

    return hold


def linear_bytes(linear: nn.Linear, mode: Quantize, size: int) -> int:
    """Bytes of a linear layer once it is held as `mode`; `size` is that of a plain number."""
    (outputs, inputs), count = linear.weight.shape, linear.weight.numel()
    bias = 0 if linear.bias is None else outputs * size
    if mode == "int8":
        return count + outputs * 5 + bias  # a scale, float32, and a zero
    if mode == "fp8":
        return count + outputs * 4 + bias
    if mode == "int4":
        # torchao fills layers up to what its kernel multiplies (Int4TilePackedTo4dTensor).
        count = -(-outputs // 8) * 8 * -(-inputs // 1024) * 1024
        return count // 2 + count // INT4_GROUP * 2 * size + bias
    if mode == "nf4":
        return count // 2 + nf4.scale_bytes(count) + bias
    return count * size + bias


def unpacks(mode: Quantize) -> bool:
    """Whether a layer held as `mode` makes its whole weight anew to multiply by it."""
    return mode in ("int8", "nf4")


def _check_torchao(mode: Quantize) -> None:
    try:
        import torchao.quantization  # noqa: F401 - whether it is there
    except ImportError as error:
        raise ModelError(
            f"Quantising to {mode} needs the package torchao, which is not installed; "
            "pip install 'llava-jobs[quantize]', or load without quantising."
        ) from error


def _config(mode: Quantize) -> Any:
    from torchao import quantization as ao
    from torchao.quantization.quantize_.workflows import Int4PackingFormat

    # Left alone, torchao would change torch.compile's settings of the whole process.
    if mode == "int8":
        return ao.Int8WeightOnlyConfig(set_inductor_config=False)
    return ao.Int4WeightOnlyConfig(
        group_size=INT4_GROUP,
        # The one form whose kernel is torch's own; others need further packages.
        int4_packing_format=Int4PackingFormat.TILE_PACKED_TO_4D,
        set_inductor_config=False,
    )
