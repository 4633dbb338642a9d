"""Linear layers whose weights are four bits each, by bitsandbytes; inputs stay as they are.

The numbers are NF4's of QLoRA (Dettmers et al. 2023, section 3), in blocks of 64 with a scale each,
and scales are bytes in blocks of 256: 4.13 bits a weight. The product is one operator, which on a
GPU waits for nothing on the host and so can be captured in a CUDA graph.
"""

import importlib
import logging
import sys
from typing import Any

import torch
from torch import nn

from worker.engine.errors import ModelError, first_line

BLOCK, SCALES = 64, 256
"""Weights that share a scale, and scales that share a scale of their own."""


def bitsandbytes() -> Any:
    """The package's functions; raises ModelError where it is not installed."""
    # Where there is a package `kernels`, bitsandbytes would fetch compiled code from a hub with it
    # and run that; where there is none, it warns of it. We use nothing of what it wants it for.
    sys.modules.setdefault("kernels", None)  # type: ignore[arg-type]
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    try:
        return importlib.import_module("bitsandbytes.functional")
    except ImportError as error:
        raise ModelError(
            "Quantising to nf4 needs the package bitsandbytes, which is not installed; "
            "pip install 'llava-jobs[quantize]', or load without quantising."
        ) from error


def scale_bytes(weights: int) -> int:
    """Bytes of the scales of so many weights, with their own and the table that these are of."""
    scales = -(-weights // BLOCK)
    return scales + 4 * -(-scales // SCALES) + 4 * 256 + 4


class Nf4Linear(nn.Module):
    """A linear layer that makes its weight anew from four bits each time, in its input's type."""

    weight: torch.Tensor
    scales: torch.Tensor
    scales_of_scales: torch.Tensor
    code: torch.Tensor
    offset: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, plain: nn.Linear) -> None:
        """Take over a plain layer, quantised where that lies.

        Raises ModelError for inputs that are not whole blocks, for which there is no fast kernel.
        """
        super().__init__()
        self.out_features, self.in_features = plain.weight.shape
        if self.in_features % BLOCK:
            raise ModelError(
                f"The model has a layer of {self.in_features} inputs and nf4 needs multiples of "
                f"{BLOCK}; use int8, or load without quantising."
            )
        weight, state = bitsandbytes().quantize_4bit(
            plain.weight.detach(), blocksize=BLOCK, compress_statistics=True, quant_type="nf4"
        )
        self.register_buffer("weight", weight)
        self.register_buffer("scales", state.absmax)
        self.register_buffer("scales_of_scales", state.state2.absmax)
        self.register_buffer("code", state.state2.code)
        self.register_buffer("offset", state.offset)
        self.register_buffer("bias", None if plain.bias is None else plain.bias.detach())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [..., in], float32, bfloat16 or float16 -> [..., out]."""
        product: torch.Tensor = torch.ops.bitsandbytes.gemm_4bit(
            x,
            self.weight,
            (self.out_features, self.in_features),
            self.scales_of_scales,
            BLOCK,
            "nf4",
            bias=self.bias,
            absmax_8bit=self.scales,
            absmax_code=self.code,
            absmax_offset=self.offset,
        )
        return product


def try_products(device: torch.device, dtype: torch.dtype) -> None:
    """Multiply small numbers by few rows and by many, which have kernels of their own, and compare
    with float32.

    Raises ModelError where the products cannot be used or are wrong.
    """
    draw = torch.Generator().manual_seed(0)
    plain = nn.Linear(512, 256, bias=False)
    with torch.no_grad():
        plain.weight.copy_(torch.randn(256, 512, generator=draw))
    x = torch.randn(2048, 512, generator=draw)
    with torch.inference_mode():
        right = plain(x)
        try:
            layer, inputs = Nf4Linear(plain.to(device, dtype)), x.to(device, dtype)
            given = [layer(inputs[:rows]).float().cpu() for rows in (1, 16, len(x))]
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(
                f"nf4 cannot be used on {device} ({first_line(error)}); install the bitsandbytes "
                "that has this CUDA's library, use int8, or load without quantising."
            ) from error
    for rows in given:
        wanted = right[: len(rows)]
        if not ((rows - wanted).norm(dim=1) <= 0.2 * wanted.norm(dim=1)).all():
            raise ModelError(
                f"Products in nf4 are wrong on {device}; update the driver, bitsandbytes and "
                "torch, use int8, or load without quantising."
            )
