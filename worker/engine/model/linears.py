"""Matrix products on a CPU, by weights that are laid out for them once."""

from typing import Literal, TypeGuard

import torch
from torch import nn
from transformers.activations import SiLUActivation

Activation = Literal["none", "swish"]


class PackedLinear(nn.Module):
    """A linear layer whose weight is kept in the blocks that oneDNN multiplies with.

    torch's own layer gives the plain weight to MKL, which on two AVX-512 cores did 34 GFLOP/s with
    8 rows where this did 63 to 90, and 87 where this did 142 to 170 with 32. The operators are
    those that torch's compiler packs weights with when it freezes a model
    (torch/_inductor/fx_passes/mkldnn_fusion.py).
    """

    def __init__(self, plain: nn.Linear, activation: Activation = "none") -> None:
        """Take over the weight of a plain float32 layer; `activation` is applied to the product."""
        super().__init__()
        self.activation = activation
        self.bias = plain.bias
        # No parameter: this form has no elements that one could look at, move or save.
        self._packed = torch.ops.mkldnn._reorder_linear_weight(plain.weight.data)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [..., in] -> [..., out]."""
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._packed, self.bias, self.activation, [], ""
        )
        return product


def pack(model: nn.Module) -> None:
    """Replace the plain float32 linear layers inside a model on a CPU by packed ones, in place.

    Leaves them as they are where this torch has no oneDNN.
    """
    if not torch.backends.mkldnn.is_available():
        return
    for parent in list(model.modules()):
        gate = getattr(parent, "gate_proj", None)
        if _is_plain(gate) and isinstance(getattr(parent, "act_fn", None), SiLUActivation):
            # One pass over what is by far the largest tensor of a layer, instead of two.
            parent.gate_proj, parent.act_fn = PackedLinear(gate, "swish"), nn.Identity()
        for name, child in parent.named_children():
            if _is_plain(child):
                setattr(parent, name, PackedLinear(child))


def _is_plain(module: object) -> TypeGuard[nn.Linear]:
    """Whether a layer's weight is float32 numbers, and not a library's own tensor of quantised
    ones."""
    if type(module) is not nn.Linear:
        return False
    weight = module.weight.data
    return type(weight) is torch.Tensor and weight.dtype == torch.float32
