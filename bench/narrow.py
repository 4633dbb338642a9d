"""Linear layers that multiply in 8 bits, as GPUs since Hopper can."""

from __future__ import annotations

import torch
from torch import nn

_KIND = torch.float8_e4m3fn
_MOST = torch.finfo(_KIND).max


def narrow(module: nn.Module) -> None:
    """Replace every linear layer in a module by one that multiplies in 8 bits."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, NarrowLinear(child))
        else:
            narrow(child)


class NarrowLinear(nn.Module):
    """A linear layer in float8 e4m3, with a scale for each row of weights and of inputs."""

    weight: torch.Tensor
    scale: torch.Tensor

    def __init__(self, wide: nn.Linear) -> None:
        super().__init__()
        weight, scale = _scaled(wide.weight.detach())
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """inputs [..., in] -> [..., out] in the type of the inputs."""
        rows, scale = _scaled(inputs.reshape(-1, inputs.shape[-1]))
        product = torch._scaled_mm(
            rows, self.weight.t(), scale, self.scale.t(), out_dtype=inputs.dtype
        )
        return product.view(*inputs.shape[:-1], -1)


def _scaled(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """rows [n, width] -> the same in 8 bits, and float32 scales [n, 1]."""
    scale = rows.float().abs().amax(dim=-1, keepdim=True).clamp(min=1e-12) / _MOST
    return (rows.float() / scale).clamp(-_MOST, _MOST).to(_KIND), scale
