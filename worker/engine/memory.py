"""What a model takes of a GPU's memory, from its configuration alone: nothing is allocated.

The check at a worker's start, the number of its slots, README's table of hardware and the sizing of
the operations manual all go by this plan.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import LlavaNextForConditionalGeneration

from worker.engine.limits import (
    SHARE_FOR_CACHE,
    STEP_OF,
    TILES_OF,
    key_shape,
    picture_tokens,
    token_bytes,
)
from worker.engine.model.description import context_of, tiling_of
from worker.engine.model.quantization import Quantize, linear_bytes, unpacks

WORDS = 512
"""Tokens of question and answer that a job is reckoned with, beside one picture of most tokens."""

LIBRARIES = 256 << 20
"""Bytes of cuBLAS's workspace, kernels and graphs once a model runs: assumed, not measured."""

CONTEXT = 512 << 20
"""Bytes of a GPU that its driver and a CUDA context take before anything is loaded: assumed, not
measured."""

FEWEST_SLOTS = 4
"""Requests in the batch of the smallest GPU, where they may have to wait for room in the cache."""

SMALLEST_STEP = 512
"""Tokens: below it a prompt of one picture takes more than half a dozen steps."""


@dataclass(frozen=True)
class Plan:
    """Bytes that parts of an engine take.

    `layers`: the language model's linear layers. `words`: its embeddings, norms and output layer.
    `vision`: tower and projector. `pictures`: the table of their features, and `picture` of one of
    most tokens. `token`: one token's keys and values. `job_tokens`: tokens of a job with such a
    picture. While a step
    computes, it takes `step_token` for each token and `step_fixed` once, and a pass of the vision
    tower takes `tile` for each tile, of which a picture has at most `picture_tiles`.
    """

    layers: int
    words: int
    vision: int
    pictures: int
    picture: int
    token: int
    job_tokens: int
    step_token: int
    step_fixed: int
    tile: int
    picture_tiles: int

    @property
    def weights(self) -> int:
        """Bytes of all weights."""
        return self.layers + self.words + self.vision

    @property
    def needed(self) -> int:
        """Free bytes that a GPU must have for one job at a time, in the smallest steps."""
        cache = self.job_tokens * self.token / SHARE_FOR_CACHE
        reading = SMALLEST_STEP * self.step_token + self.step_fixed
        step = max(reading, self.picture_tiles * self.tile) / (1 - SHARE_FOR_CACHE)
        return self.weights + self.pictures + LIBRARIES + math.ceil(max(cache, step))

    def spare(self, free: int) -> int:
        """Bytes that cache and steps share on a GPU with so many free bytes."""
        return max(0, free - self.weights - self.pictures - LIBRARIES)

    def cached_tokens(self, free: int) -> int:
        """The tokens whose keys and values the cache holds on a GPU with so many free bytes."""
        return int(SHARE_FOR_CACHE * self.spare(free) / self.token)

    def jobs(self, free: int) -> int:
        """The jobs that the cache and a table of pictures to go with it hold at once."""
        spare = self.spare(free) + self.pictures
        return int(SHARE_FOR_CACHE * spare / (self.job_tokens * self.token + self.picture))

    def step_tokens(self, free: int) -> int:
        """The tokens of the largest step, a power of two, that has room beside the cache."""
        room = (1 - SHARE_FOR_CACHE) * self.spare(free) - self.step_fixed
        step = STEP_OF["cuda"]
        while step > SMALLEST_STEP and step * self.step_token > room:
            step //= 2
        return step

    def tiles_per_pass(self, free: int) -> int:
        """The tiles of the largest pass of the vision tower that has room beside the cache."""
        room = (1 - SHARE_FOR_CACHE) * self.spare(free)
        return min(TILES_OF["cuda"], max(self.picture_tiles, int(room / self.tile)))


def plan(
    config: Any,
    quantize: Quantize,
    dtype: torch.dtype,
    slots: int = FEWEST_SLOTS,
    *,
    slow_attention: bool = False,
) -> Plan:
    """The plan for a LlavaNextConfig whose language model is held as `quantize` says.

    `slow_attention` stands for torch's plain operators, which make more on their way.
    """
    text, tiling, size = config.get_text_config(), tiling_of(config), dtype.itemsize
    with torch.device("meta"):
        model = LlavaNextForConditionalGeneration(config)
    linears = [m for m in model.model.language_model.modules() if isinstance(m, nn.Linear)]
    vision = sum(map(_numbers, (model.model.vision_tower, model.model.multi_modal_projector)))
    layers = sum(m.weight.numel() + (0 if m.bias is None else m.bias.numel()) for m in linears)
    largest = max(m.weight.numel() for m in linears)
    job = tiling.max_tokens + WORDS
    step = _step_numbers(text, quantize not in ("none", "fp8"), slow_attention) * size
    table = picture_tokens(slots, context_of(config), tiling.max_tokens)
    return Plan(
        layers=sum(linear_bytes(m, quantize, size) for m in linears),
        words=(_numbers(model) - vision - layers) * size,
        vision=vision * size,
        pictures=table * text.hidden_size * size,
        picture=(tiling.max_tokens + 1) * text.hidden_size * size,
        token=token_bytes(text, dtype),
        job_tokens=job,
        step_token=step + (_score_bytes(text, job) if slow_attention else 0),
        step_fixed=largest * size if unpacks(quantize) else 0,
        tile=_tile_bytes(config.vision_config, size),
        picture_tiles=1 + max(rows * columns for rows, columns in tiling.grids) // tiling.tile**2,
    )


def _numbers(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _step_numbers(text: Any, halves_apart: bool, slow_attention: bool) -> int:
    """Numbers of one token that are there at once, at the gated part of a layer.

    Those are the token before the layer, behind attention and behind the norm, what attention made
    of it, and the gated part itself: its two halves side by side and their product. Where the
    weights of the halves are apart, each half is there once more, but no product; plain operators
    make the product in two, and turned queries and keys beside the plain ones.
    """
    heads, (groups, dim) = text.num_attention_heads, key_shape(text)
    attention = (2 * heads + 2 * groups) * dim + (heads + groups) * dim * slow_attention
    gated = (4 if halves_apart or slow_attention else 3) * text.intermediate_size
    return int(3 * text.hidden_size + attention + gated)


def _score_bytes(text: Any, keys: int) -> int:
    """Bytes of one token's scores for all keys of its request, float32, and what softmax makes of
    them: torch has no kernel that goes without for groups of heads on an old GPU."""
    return int(2 * 4 * text.num_attention_heads * keys)


def _tile_bytes(vision: Any, size: int) -> int:
    """Bytes of one tile inside a layer of CLIP's tower, whose activation takes three operators; the
    pixels, float32, are there as long."""
    tokens = (vision.image_size // vision.patch_size) ** 2 + 1
    numbers = 3 * vision.intermediate_size + 4 * vision.hidden_size
    return int(tokens * numbers * size + 3 * vision.image_size**2 * 4)
