"""What the layers of a decoder ask of a device, and what the layers of one step share.

The cache of one layer is a pair of tensors, `keys` and `values` [pages, page size, groups, dim],
contiguous. A slot is the place of one token in it: page * page size + offset. Page 0 is never
given to a request: rows that only pad a captured graph write there.
"""

from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True)
class PromptStep:
    """What all layers share in a step that reads prompts.

    `slots` int64 [tokens]: where the new keys go. `starts` int32 [requests + 1]: where the queries
    of each request begin. `key_starts` int32 [requests + 1]: the same for keys. `longest`: the
    most queries and the most keys of a request. `reads` int64 [keys]: the slots of all keys, in
    order, where a request begins with cached ones or goes on with a chunk of its prompt; None
    where the keys are those of this step. `on_host`: `starts` and `key_starts` as lists, so that
    nothing is read back from a device.
    """

    slots: torch.Tensor
    starts: torch.Tensor
    key_starts: torch.Tensor
    longest: tuple[int, int]
    reads: torch.Tensor | None
    on_host: tuple[list[int], list[int]]


@dataclass(frozen=True)
class DecodeStep:
    """What all layers share in a step that generates, one row a request.

    `slots` int64 [rows]: where the new keys go. `table` int32 [rows, pages]: the pages of each
    request in order, padded with 0. `lengths` int32 [rows]: the keys of each request, the new one
    included. Rows that pad a captured graph have length 1, table 0 and slot 0.
    """

    slots: torch.Tensor
    table: torch.Tensor
    lengths: torch.Tensor


@dataclass(frozen=True)
class MixedStep:
    """What all layers share in a step that reads prompts and generates beside it.

    Rows of prompts come first. `slots` int64 [tokens + rows]: where all new keys go.
    """

    prompt: PromptStep
    decode: DecodeStep
    slots: torch.Tensor


Step = PromptStep | DecodeStep | MixedStep


class Kernels(Protocol):
    """How one device does what lies between the matrix products of a decoder layer."""

    capturable: bool
    """Whether a step that generates can be captured in a CUDA graph."""

    def rotate_and_store(
        self,
        qkv: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        slots: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        heads: int,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rotate queries and keys by their positions, and write keys and values to the cache.

        qkv [tokens, heads + 2 * groups, dim], cos and sin float32 [tokens, dim / 2], slots int64
        [tokens], keys and values the cache of the layer -> query [tokens, heads, dim], key and
        value [tokens, groups, dim], query and key rotated. The first half of a head turns with
        its second half, as Llama's does. May work in place: qkv is not to be read afterwards.
        """

    def prompt(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        step: PromptStep,
        scale: float,
    ) -> torch.Tensor:
        """Attend causally within each request, whose queries are the last of its keys.

        query [tokens, heads, dim], key and value [keys, groups, dim], already gathered by
        `step.reads` where that is set -> [tokens, heads, dim].
        """

    def decode(
        self,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        step: DecodeStep,
        scale: float,
    ) -> torch.Tensor:
        """Attend with one query a request to all its keys, those of its pages: query [rows, heads,
        dim], keys and values the cache of the layer -> [rows, heads, dim]."""

    def norm(self, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        """Divide by the root mean square, as Llama does: x [tokens, hidden], weight [hidden] ->
        [tokens, hidden], computed in float32, cast to x's dtype, then times weight."""

    def gated(self, gate_up: torch.Tensor) -> torch.Tensor:
        """Multiply silu of the first half by the second: [tokens, 2 * intermediate] -> [tokens,
        intermediate]. On a CPU oneDNN does this inside its matrix products instead."""
