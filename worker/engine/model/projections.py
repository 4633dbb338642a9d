"""The matrix products of a decoder layer, by device and form of the weights."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional

from worker.engine.model.fp8 import Fp8Linear


class Projection(Protocol):
    """A linear layer, in the forms in which a decoder layer uses one."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x [tokens, in] -> [tokens, out]."""

    def plus(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """The product, added to `residual` [tokens, out]."""


class Plain:
    """The product by torch, which on a GPU adds a residual in the same kernel."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        """Take a weight [out, in] and a bias [out]."""
        self._weight = weight
        self._bias = bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, self._weight, self._bias)

    def plus(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """The product, added to `residual`."""
        if self._bias is not None:
            residual = residual + self._bias
        return torch.addmm(residual, x, self._weight.t())


class Packed:
    """The product on a CPU, by a weight in the blocks that oneDNN multiplies with.

    torch's own layer gives the plain weight to MKL, which on two AVX-512 cores did 34 GFLOP/s with
    8 rows where this did 63 to 90, and 87 where this did 142 to 170 with 32. The operators are
    those that torch's compiler packs weights with when it freezes a model
    (torch/_inductor/fx_passes/mkldnn_fusion.py). What follows a product is done inside it.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        """Take a weight [out, in] and a bias [out], float32 or bfloat16."""
        self._bias = bias
        # This form has no elements that one could look at, move or save.
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())

    def __call__(self, x: torch.Tensor, activation: str = "none") -> torch.Tensor:
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._weight, self._bias, activation, [], ""
        )
        return product

    def plus(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """The product, added to `residual`."""
        return self._with(x, residual, "add")

    def times(self, x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        """The product, multiplied by `factor` [tokens, out] element by element."""
        return self._with(x, factor, "mul")

    def _with(self, x: torch.Tensor, other: torch.Tensor, operator: str) -> torch.Tensor:
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise.binary(
            x, other, self._weight, self._bias, operator
        )
        return product


class PackedLinear(nn.Module):
    """The same as a module that stands in a model of transformers."""

    def __init__(self, plain: nn.Linear) -> None:
        """Take over the weight of a plain layer."""
        super().__init__()
        self.bias = plain.bias
        self._packed = Packed(plain.weight.detach(), plain.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [..., in] -> [..., out]."""
        return self._packed(x)


class Modules:
    """The products of layers whose weights are in a library's own form, side by side."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._modules = modules

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        products = [module(x) for module in self._modules]
        return products[0] if len(products) == 1 else torch.cat(products, dim=-1)

    def plus(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """The product, added to `residual`."""
        return residual + self(x)


def projection(*modules: Any) -> Projection:
    """The product of one linear layer, or those of several with the same input side by side."""
    if all(isinstance(module, Fp8Linear) for module in modules):
        return Fp8Linear.stacked(modules) if len(modules) > 1 else modules[0]
    if not all(map(_is_plain, modules)):
        return Modules(modules)
    weight = torch.cat([module.weight.detach() for module in modules])
    biases = [module.bias for module in modules]
    bias = None if biases[0] is None else torch.cat([bias.detach() for bias in biases])
    return Packed(weight, bias) if can_pack(modules[0]) else Plain(weight, bias)


def can_pack(module: Any) -> bool:
    """Whether oneDNN multiplies by a layer's weight on this machine without converting it."""
    if not _is_plain(module) or not torch.backends.mkldnn.is_available():
        return False
    weight = module.weight
    if weight.device.type != "cpu":
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return bool(weight.dtype == torch.float32)


def pack(model: nn.Module) -> None:
    """Replace the linear layers inside a model on a CPU by packed ones, in place."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear) and can_pack(child):
                setattr(parent, name, PackedLinear(child))


def _is_plain(module: Any) -> bool:
    """Whether a layer's weight is numbers of its own, and not a library's quantised form."""
    return type(module) is nn.Linear and type(module.weight.data) is torch.Tensor
