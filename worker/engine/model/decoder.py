"""The language model's layers, as the engine runs them: few operators, and those fused.

The weights are those of transformers' model. Its own layers work on any shape of input, and pay for
that with some forty operators each; here tokens of all requests stand in one row, [tokens, hidden],
and a layer is four matrix products and what its device fuses between them.
"""

from typing import Any, Protocol

import torch

from worker.engine.attention.kernels import DecodeStep, Kernels, MixedStep, Step
from worker.engine.errors import ModelError
from worker.engine.model.projections import Packed, Projection, can_pack, projection

Cache = tuple[torch.Tensor, torch.Tensor]
"""Keys and values of one layer, [pages, page size, groups, dim] each."""
SERVED = {"llama", "mistral", "qwen2"}


class Mlp(Protocol):
    """The gated part of a layer."""

    def __call__(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """x [tokens, hidden] -> [tokens, hidden], added to `residual`."""


class PackedMlp:
    """In three passes, by oneDNN."""

    def __init__(self, gate: Packed, up: Packed, down: Packed) -> None:
        self._gate, self._up, self._down = gate, up, down

    def __call__(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        gated = self._up.times(x, self._gate(x, "swish"))
        return self._down.plus(gated, residual)


class FusedMlp:
    """By two matrix products and a kernel of the device between them."""

    def __init__(self, gate_up: Projection, down: Projection, kernels: Kernels) -> None:
        self._gate_up, self._down, self._kernels = gate_up, down, kernels

    def __call__(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        return self._down.plus(self._kernels.gated(self._gate_up(x)), residual)


class Layer:
    """One layer: attention, then the gated part."""

    def __init__(self, layer: Any, kernels: Kernels) -> None:
        """Take over the weights of a layer of Llama's, Mistral's or Qwen2's form."""
        attention, mlp = layer.self_attn, layer.mlp
        self._kernels = kernels
        self._dim = int(attention.head_dim)
        self._scale = float(attention.scaling)
        self._qkv = projection(attention.q_proj, attention.k_proj, attention.v_proj)
        self._heads = attention.q_proj.out_features // self._dim
        self._out = projection(attention.o_proj)
        self._mlp = _mlp(mlp, kernels)
        self._first = layer.input_layernorm.weight.detach()
        self._second = layer.post_attention_layernorm.weight.detach()
        self._eps = float(layer.input_layernorm.variance_epsilon)
        # Their weights are held a second time by what was made of them.
        del attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj
        del mlp.gate_proj, mlp.up_proj, mlp.down_proj

    def __call__(
        self,
        x: torch.Tensor,
        turns: tuple[torch.Tensor, torch.Tensor],
        step: Step,
        cache: Cache,
        rows: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """x [tokens, hidden] -> the same; `turns` are cosines and sines of the positions.

        With `rows` int64 only those tokens are returned, [rows, hidden]; of the others nothing but
        keys and values is of use.
        """
        kernels = self._kernels
        qkv = self._qkv(kernels.norm(x, self._first, self._eps))
        query, key, value = kernels.rotate_and_store(
            qkv.view(len(x), -1, self._dim), *turns, step.slots, *cache, self._heads
        )
        seen = self._attend(query, key, value, step, cache)
        if rows is not None:
            seen, x = seen[rows], x[rows]
        x = self._out.plus(seen.flatten(1), x)
        return self._mlp(kernels.norm(x, self._second, self._eps), x)

    def _attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        step: Step,
        cache: Cache,
    ) -> torch.Tensor:
        """query [tokens, heads, dim], key and value [tokens, groups, dim] -> as query."""
        if isinstance(step, DecodeStep):
            return self._kernels.decode(query, *cache, step, self._scale)
        if isinstance(step, MixedStep):
            end = len(step.prompt.slots)
            read = self._attend(query[:end], key[:end], value[:end], step.prompt, cache)
            return torch.cat([read, self._attend(query[end:], key, value, step.decode, cache)])
        if step.reads is not None:
            key, value = (half.flatten(0, 1)[step.reads] for half in cache)
        return self._kernels.prompt(query, key, value, step, self._scale)


class Decoder:
    """All layers and the head of a language model."""

    def __init__(self, model: Any, kernels: Kernels, context: int) -> None:
        """Take over the weights of a LlavaNextForConditionalGeneration.

        Raises ModelError for a language model of another form.
        """
        text, config = model.model.language_model, model.config.get_text_config()
        check(config)
        self._kernels = kernels
        self._layers = [Layer(layer, kernels) for layer in text.layers]
        self._norm = text.norm.weight.detach()
        self._eps = float(text.norm.variance_epsilon)
        self._head = projection(model.lm_head)
        self._cos, self._sin = _turns(text.rotary_emb, context, self._norm.device)

    def __call__(
        self,
        x: torch.Tensor,
        positions: torch.Tensor,
        step: Step,
        caches: list[Cache],
        rows: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Run tokens x [tokens, hidden] at int64 positions [tokens] through all layers.

        Returns float32 scores [rows, vocabulary] of the tokens numbered `rows` int64, or of all.
        """
        turns = self._cos[positions], self._sin[positions]
        *layers, last = zip(self._layers, caches, strict=True)
        for layer, cache in layers:
            x = layer(x, turns, step, cache)
        layer, cache = last
        x = layer(x, turns, step, cache, rows)
        return self._head(self._kernels.norm(x, self._norm, self._eps)).float()


def check(config: Any) -> None:
    """Raise ModelError for a language model that has layers of another form."""
    activation = getattr(config, "hidden_act", "silu")
    rope = config.rope_parameters["rope_type"]
    if config.model_type not in SERVED or activation != "silu" or rope in ("dynamic", "longrope"):
        raise ModelError(
            f"The language model is a {config.model_type} with {activation} and {rope} rotation; "
            f"this engine serves {', '.join(sorted(SERVED))} with silu and a fixed rotation."
        )


def _mlp(mlp: Any, kernels: Kernels) -> Mlp:
    gate, up, down = mlp.gate_proj, mlp.up_proj, mlp.down_proj
    if can_pack(gate):
        return PackedMlp(*(Packed(m.weight.detach(), m.bias) for m in (gate, up, down)))
    return FusedMlp(projection(gate, up), projection(down), kernels)


def _turns(rotary: Any, context: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines of all positions, float32 [context, dim / 2] each."""
    positions = torch.arange(context, device=device).unsqueeze(0)
    both = rotary(torch.zeros(1, device=device), positions)
    cos, sin = (part[0, :, : part.shape[-1] // 2].contiguous() for part in both)
    return cos, sin
