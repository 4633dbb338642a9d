"""Linear layers whose weights and inputs are float8 numbers, each row with a scale of its own.

One kernel makes the inputs float8 and one multiplies. torchao's layers run seven operators for the
first, which in eager mode cost what the multiplication saves.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from worker.engine.errors import ModelError

FLOAT8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FLOAT8).max
"""The largest number of float8: 448."""

LEAST_SCALE = 1e-12
"""The scale of a row of zeros, which would become NaN by one of zero."""

ALIGNED = 16
"""Inputs and outputs must be a multiple of so many (torch._scaled_mm)."""

Quantised = tuple[torch.Tensor, torch.Tensor]
"""Numbers float8 [rows, width] and scales float32 [rows, 1], whose product is what was given."""


def rows_to_float8(x: torch.Tensor) -> Quantised:
    """Scale each row of x [rows, width] so that its largest number is the largest of float8."""
    wide = x.float()
    scales = (wide.abs().amax(dim=1, keepdim=True) / LARGEST).clamp(min=LEAST_SCALE)
    return (wide / scales).clamp(-LARGEST, LARGEST).to(FLOAT8), scales


class Fp8Linear(nn.Module):
    """A linear layer with a scale for each output and, at run time, one for each row of input."""

    weight: torch.Tensor
    scales: torch.Tensor
    bias: torch.Tensor | None

    def __init__(
        self, weight: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None
    ) -> None:
        """Take a weight float8 [out, in], scales float32 [out, 1] and a bias bfloat16 [out].

        Raises ModelError for a size that float8 products do not have, or where Triton is missing.
        """
        super().__init__()
        self.out_features, self.in_features = weight.shape
        if self.out_features % ALIGNED or self.in_features % ALIGNED:
            raise ModelError(
                f"The model has a layer of {self.in_features} by {self.out_features} numbers and "
                f"fp8 needs multiples of {ALIGNED}; use int8, or load without quantising."
            )
        self.register_buffer("weight", weight)
        self.register_buffer("scales", scales)
        self.register_buffer("bias", bias)
        self._quantise = _quantiser(weight.device)

    @classmethod
    def of(cls, plain: nn.Linear) -> "Fp8Linear":
        """The same as a plain layer, quantised where that lies."""
        bias = None if plain.bias is None else plain.bias.detach()
        return cls(*rows_to_float8(plain.weight.detach()), bias)

    @classmethod
    def stacked(cls, layers: Sequence["Fp8Linear"]) -> "Fp8Linear":
        """One layer that gives the outputs of several side by side, exactly as they are."""
        weight = torch.cat([layer.weight.view(torch.uint8) for layer in layers]).view(FLOAT8)
        biases = [layer.bias for layer in layers if layer.bias is not None]
        bias = torch.cat(biases) if biases else None
        return cls(weight, torch.cat([layer.scales for layer in layers]), bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x bfloat16 [..., in] -> [..., out]."""
        numbers, scales = self._quantise(x.reshape(-1, self.in_features))
        product = torch._scaled_mm(
            numbers,
            self.weight.t(),
            scale_a=scales,
            scale_b=self.scales.t(),
            bias=self.bias,
            out_dtype=x.dtype,
            use_fast_accum=True,
        )
        return product.view(*x.shape[:-1], self.out_features)

    def plus(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """The product, added to `residual` [..., out]."""
        return residual + self.forward(x)


def _quantiser(device: torch.device) -> Callable[[torch.Tensor], Quantised]:
    if device.type != "cuda":
        return rows_to_float8
    try:
        from worker.engine.model.triton_fp8 import rows_to_float8 as in_one_kernel
    except ImportError as error:
        raise ModelError(
            "fp8 needs the package triton, which cannot be imported; pip install triton, or use "
            "int8."
        ) from error
    return in_one_kernel


def try_products(device: torch.device) -> None:
    """Multiply small numbers, a row of zeros among them, and compare with float32.

    Raises ModelError where the products cannot be used or are wrong.
    """
    draw = torch.Generator().manual_seed(0)
    plain = nn.Linear(512, 64, bias=False)
    with torch.no_grad():
        plain.weight.copy_(torch.randn(64, 512, generator=draw))
    x = torch.randn(5, 512, generator=draw) * torch.tensor([[0.0], [1e-3], [1.0], [1.0], [50.0]])
    with torch.inference_mode():
        right = plain(x)
        layer = Fp8Linear.of(plain.to(device, torch.bfloat16))
        try:
            given = layer(x.to(device, torch.bfloat16)).float().cpu()
        except Exception as error:
            line = (str(error).splitlines() or [""])[0]
            raise ModelError(
                f"fp8 cannot be used on {device} ({type(error).__name__}: {line}); use int8, or "
                "load without quantising."
            ) from error
    if not ((given - right).norm(dim=1) <= 0.1 * right.norm(dim=1)).all():
        raise ModelError(
            f"Products in fp8 are wrong on {device}; update the driver, triton and torch, use "
            "int8, or load without quantising."
        )
