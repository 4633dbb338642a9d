"""How much an engine holds at once."""

from dataclasses import dataclass
from typing import Any

import torch

PAGES_OF = {"cpu": 32, "cuda": 256}
STEP_OF = {"cpu": 2048, "cuda": 8192}
TILES_OF = {"cpu": 16, "cuda": 64}
SHARE_FOR_CACHE = 0.8
"""Of what is free on a GPU once weights and picture table are there; the rest is for steps."""
CPU_CACHE_BYTES = 1 << 30
CPU_TOKENS_PER_SLOT = 1024


@dataclass(frozen=True)
class Limits:
    """What one engine may hold; None means a default that suits the device.

    `slots`: requests in the batch. `cache_tokens`: tokens with cached keys and values (None on a
    GPU: what is free after loading; on a CPU: 1024 per slot, at least one whole context, at most
    1 GiB). `step_tokens`: tokens
    that pass the model in one step. `page_tokens`: tokens in one page of the cache, the grain of
    prefix sharing. `picture_tokens`: image tokens whose features are kept. `tiles_per_pass`: tiles
    that pass the vision tower at once. `processes`: processes that prepare pictures; 0 prepares
    them in the submitting thread.
    """

    slots: int = 32
    cache_tokens: int | None = None
    step_tokens: int | None = None
    page_tokens: int | None = None
    picture_tokens: int | None = None
    tiles_per_pass: int | None = None
    processes: int = 0

    def resolved(self, model: Any, context: int, tokens_per_picture: int) -> "Resolved":
        """The same with every default filled in for a model and its device."""
        device = model.device.type
        page = self.page_tokens or PAGES_OF.get(device, 256)
        step = self.step_tokens or STEP_OF.get(device, 8192)
        cache = self.cache_tokens
        if cache is None and device == "cpu":
            wish = max(self.slots * CPU_TOKENS_PER_SLOT, context)
            cache = min(
                wish, CPU_CACHE_BYTES // token_bytes(model.config.get_text_config(), model.dtype)
            )
        pictures = self.picture_tokens or picture_tokens(self.slots, context, tokens_per_picture)
        return Resolved(
            context=context,
            slots=self.slots,
            cache_tokens=cache,
            step_tokens=max(step, self.slots),
            page_tokens=page,
            picture_tokens=pictures,
            tiles_per_pass=self.tiles_per_pass or TILES_OF.get(device, 64),
        )


@dataclass(frozen=True)
class Resolved:
    """Limits without open ends, except that `cache_tokens` None means all that is free.

    `context` is the most tokens, prompt and answer together, of one request.
    """

    context: int
    slots: int
    cache_tokens: int | None
    step_tokens: int
    page_tokens: int
    picture_tokens: int
    tiles_per_pass: int


def picture_tokens(slots: int, context: int, tokens_per_picture: int) -> int:
    """The image tokens whose features are kept: a picture of most tokens for each slot, and what
    one request may show at the least."""
    return max(slots * (tokens_per_picture + 1), context)


def key_shape(config: Any) -> tuple[int, int]:
    """The heads that keys have in a layer of a language model, and the numbers of each."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(heads), int(size)


def token_bytes(config: Any, dtype: torch.dtype) -> int:
    """The bytes of one token's keys and values over all layers of a language model."""
    heads, size = key_shape(config)
    return int(2 * heads * size * config.num_hidden_layers * dtype.itemsize)
