"""What an attention kernel is asked for, and the protocol of those that answer it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch

TRASH = 0
"""A slot of the cache that is never given to a request: the first sectors are for padding."""


@dataclass(frozen=True)
class Speaking:
    """What all layers of a step that generates have in common, one row a request.

    `requests`: their ids. `table` int32 [rows, pages]: where their keys lie. `lengths` int32
    [rows]: how many keys each has, the new one included. `slots` int64 [rows]: where in the cache
    the new one belongs. Rows that only pad a captured graph look at one key of the trash page.
    """

    requests: Sequence[str]
    table: torch.Tensor
    lengths: torch.Tensor
    slots: torch.Tensor

    @classmethod
    def of(
        cls, requests: Sequence[str], table: torch.Tensor, starts: torch.Tensor, page: int
    ) -> Self:
        """Work it out from the stock block table and the running sum of lengths [rows + 1]."""
        lengths = starts.diff()
        place = (lengths - 1).clamp(min=0).long()
        mine = table.gather(1, (place // page).unsqueeze(1)).squeeze(1).long()
        slots = torch.where((mine >= 0) & (lengths > 0), mine * page + place % page, TRASH)
        return cls(requests, table.clamp(min=0), lengths.clamp(min=1), slots)


class Kernels(Protocol):
    """How one device attends; shapes are torch.nn.attention.varlen's, [tokens, heads, dim].

    A batch has kernels of its own: they may remember from layer to layer and from step to step.
    """

    capturable: bool
    """Whether a step that generates can be captured in a CUDA graph."""

    def read(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        queries: torch.Tensor,
        keys: torch.Tensor,
        longest: tuple[int, int],
        scale: float | None,
    ) -> torch.Tensor:
        """Attend causally within each request: `queries` and `keys` int32 [requests + 1] are where
        each begins, `longest` the most tokens of either."""

    def speak(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        step: Speaking,
        layer: int,
        scale: float | None,
    ) -> torch.Tensor:
        """Attend with one query a request, [requests, heads, dim], to its keys in the pages `key`
        and `value` of a layer of the cache, [pages, page size, heads, dim]."""
