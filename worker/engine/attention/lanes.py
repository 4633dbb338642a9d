"""Attention on a CPU: the keys of requests that generate are kept beside each other.

The pages of a request lie anywhere in the cache. Collecting those of all requests anew, in every
layer of every step, moved three times the memory that the attention itself reads, and memory is
what generating waits for. So each request's keys are copied once, when it begins to generate, to a
row of a lane, and each step adds its new key to page and row. Pages remain what prompts share.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from worker.engine.attention.anywhere import Anywhere, attend_padded, padding
from worker.engine.attention.old_kernels import Speaking

SHORTEST = 256
"""The tokens of a row in the first lane; the next has twice as many, and so on."""


class Lane:
    """Requests of like length, a row each, without a gap between rows.

    `cells` [layers, 2, rows, tokens, groups of heads, dim] are keys and values. What lies behind a
    request's own is finite, so that it can be masked away.
    """

    def __init__(self, pages: torch.Tensor, layers: int, tokens: int) -> None:
        """Make a lane without rows for pages such as [pages, page size, groups, dim]."""
        self.requests: list[str] = []
        self.lengths: list[int] = []
        self.tokens = tokens
        self.cells = pages.new_zeros((layers, 2, 0, tokens, *pages.shape[2:]))

    def advance(self, lengths: Mapping[str, int]) -> None:
        """Keep the requests that go on with one more key, and let go of the others."""
        for row in reversed(range(len(self.requests))):
            length = self.lengths[row] + 1
            if lengths.get(self.requests[row]) != length or length > self.tokens:
                self._remove(row)
        self.lengths = [length + 1 for length in self.lengths]
        if 2 * len(self.requests) < self.cells.shape[2]:
            self.cells = self.cells[:, :, : len(self.requests)].clone()

    def add(self, lengths: Mapping[str, int]) -> None:
        """Give requests rows, not yet filled."""
        self.requests += lengths.keys()
        self.lengths += lengths.values()
        rows = self.cells.shape[2]
        if len(self.requests) > rows:
            more = max(len(self.requests) - rows, rows // 2)
            empty = self.cells.new_zeros((*self.cells.shape[:2], more, *self.cells.shape[3:]))
            self.cells = torch.cat([self.cells, empty], dim=2)

    def _remove(self, row: int) -> None:
        """Take a row away; the last one takes its place."""
        last, length = len(self.requests) - 1, self.lengths[-1]
        if row != last:
            self.cells[:, :, row, :length] = self.cells[:, :, last, :length]
            self.requests[row], self.lengths[row] = self.requests[last], length
        self.requests.pop()
        self.lengths.pop()


@dataclass(frozen=True)
class Share:
    """What one lane does in one step.

    `order` int64 [rows]: which request of the step stands in each row. `slots` and `places` int64
    [rows]: where the new key is in the cache and belongs in the lane, in tokens. `mask`: see
    `padding`. `newcomers`: rows to be filled first, each with its pages int64 [pages] and length.
    """

    lane: Lane
    order: torch.Tensor
    slots: torch.Tensor
    places: torch.Tensor
    mask: torch.Tensor
    newcomers: list[tuple[int, torch.Tensor, int]]

    def attend(
        self,
        query: torch.Tensor,
        pages: tuple[torch.Tensor, torch.Tensor],
        layer: int,
        scale: float | None,
    ) -> torch.Tensor:
        """Attend with the queries [rows, heads, dim] of the lane's requests in one layer."""
        rows, longest = len(self.order), self.mask.shape[-1]
        both = self.lane.cells[layer]
        for cells, cached in zip(both, pages, strict=True):
            for row, table, length in self.newcomers:
                cells[row, :length] = cached[table].flatten(0, 1)[:length]
            new = cached.flatten(0, 1).index_select(0, self.slots)
            cells.flatten(0, 1).index_copy_(0, self.places, new)
        key, value = both[:, :rows, :longest]
        return attend_padded(query, key, value, self.mask, scale)


class OnCpu(Anywhere):
    """Kernels for a CPU (see worker.engine.attention.old_kernels.Kernels) that keep keys in lanes.

    Lanes take at most four times the memory of the keys in them, where these are at least
    `SHORTEST` / 2 a request, and for the moment in which one grows or shrinks both sizes.
    """

    def __init__(self, layers: int) -> None:
        self._layers = layers
        self._lanes: dict[int, Lane] = {}
        self._shares: list[Share] = []

    @property
    def requests(self) -> set[str]:
        """Whose keys are in lanes."""
        return {request for lane in self._lanes.values() for request in lane.requests}

    def speak(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        step: Speaking,
        layer: int,
        scale: float | None,
    ) -> torch.Tensor:
        """Attend lane by lane; the first layer brings the lanes up to date for all."""
        if layer == 0:
            newcomers = self._update(step, key)
            self._shares = list(self._share(step, newcomers))
        output = torch.empty_like(query)
        for share in self._shares:
            mine = share.attend(query.index_select(0, share.order), (key, value), layer, scale)
            output.index_copy_(0, share.order, mine)
        return output

    def _update(self, step: Speaking, pages: torch.Tensor) -> set[str]:
        """Give every request of a step a row, and nobody else; returns those whose row is new."""
        lengths = dict(zip(step.requests, step.lengths.tolist(), strict=True))
        for lane in self._lanes.values():
            lane.advance(lengths)
        placed = self.requests
        newcomers = {one: length for one, length in lengths.items() if one not in placed}
        joining: dict[int, dict[str, int]] = {}
        for request, length in newcomers.items():
            joining.setdefault(_tokens(length), {})[request] = length
        for tokens, group in joining.items():
            self._lanes.setdefault(tokens, Lane(pages, self._layers, tokens)).add(group)
        self._lanes = {tokens: lane for tokens, lane in self._lanes.items() if lane.requests}
        return set(newcomers)

    def _share(self, step: Speaking, newcomers: set[str]) -> Iterator[Share]:
        where = {request: i for i, request in enumerate(step.requests)}
        for lane in self._lanes.values():
            order = torch.tensor([where[request] for request in lane.requests])
            lengths = torch.tensor(lane.lengths)
            yield Share(
                lane,
                order,
                step.slots[order],
                torch.arange(len(order)) * lane.tokens + lengths - 1,
                padding(lengths, max(lane.lengths)),
                [
                    (row, step.table[order[row]].long(), lane.lengths[row])
                    for row, request in enumerate(lane.requests)
                    if request in newcomers
                ],
            )


def _tokens(length: int) -> int:
    """The tokens of a row in the lane for requests of a length."""
    return max(SHORTEST, 1 << (length - 1).bit_length())
