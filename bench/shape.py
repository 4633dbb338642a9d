"""Shapes of LLaVA-NeXT models: what speed depends on."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Shape:
    """The sizes of a model; `tile` and `patch` in pixels, `context` in tokens.

    `vision_layers` counts the last one too, whose output LLaVA never reads.
    """

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    context: int
    vision_hidden: int
    vision_layers: int
    vision_heads: int
    tile: int
    patch: int
    initial_std: float

    @property
    def tile_tokens(self) -> int:
        """Features of one tile."""
        return (self.tile // self.patch) ** 2


SMALL = Shape(
    hidden=512,
    intermediate=1792,
    layers=14,
    heads=8,
    kv_heads=2,
    vocabulary=1024,
    context=4096,
    vision_hidden=256,
    vision_layers=8,
    vision_heads=4,
    tile=80,
    patch=16,
    initial_std=0.06,
)
"""56 million parameters with the proportions of the released mistral one: what a CPU can serve."""

TINY = Shape(
    hidden=64,
    intermediate=192,
    layers=2,
    heads=4,
    kv_heads=2,
    vocabulary=1024,
    context=4096,
    vision_hidden=64,
    vision_layers=3,
    vision_heads=2,
    tile=64,
    patch=16,
    initial_std=0.2,
)
"""Small enough for tests."""

MISTRAL_7B = Shape(
    hidden=4096,
    intermediate=14336,
    layers=32,
    heads=32,
    kv_heads=8,
    vocabulary=32064,
    context=32768,
    vision_hidden=1024,
    vision_layers=24,
    vision_heads=16,
    tile=336,
    patch=14,
    initial_std=0.02,
)
"""llava-hf/llava-v1.6-mistral-7b-hf."""

VICUNA_7B = replace(MISTRAL_7B, intermediate=11008, kv_heads=32, context=4096)
"""llava-hf/llava-v1.6-vicuna-7b-hf."""

VICUNA_13B = replace(VICUNA_7B, hidden=5120, intermediate=13824, layers=40, heads=40, kv_heads=40)
"""llava-hf/llava-v1.6-vicuna-13b-hf."""

YI_34B = replace(
    VICUNA_7B,
    hidden=7168,
    intermediate=20480,
    layers=60,
    heads=56,
    kv_heads=8,
    vocabulary=64064,
)
"""llava-hf/llava-v1.6-34b-hf."""

SHAPES = {"tiny": TINY, "small": SMALL, "mistral-7b": MISTRAL_7B}
