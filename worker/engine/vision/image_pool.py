"""Which token ids stand for which picture, and in which rows their features lie.

A picture of n tokens gets n consecutive ids above the vocabulary, `first_id + counter`, and its
features lie in rows `(id - first_id) % rows` of a table. Ids are never given twice, so keys and
values that were cached for an id can never be read for another picture, even after its rows have
been overwritten. SGLang pads image tokens with values made from the picture's hash for the same
purpose (sglang python/sglang/srt/managers/mm_utils.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

LAST_ID = 2**31 - 1  # continuous batching keeps token ids in int32 tensors

Key = tuple[str, ...]


@dataclass(eq=False)
class Extent:
    """The ids and rows of one picture.

    `start` counts from 0 and grows for ever; `holders` is the number of unfinished requests that
    need the rows; `filled` says that the features have been written.
    """

    key: Key
    start: int
    length: int
    holders: int = 0
    filled: bool = False


class ImagePool:
    """Hands out ids and rows, and keeps the rows of every held picture.

    Not thread-safe: the owner locks.
    """

    def __init__(self, rows: int, first_id: int, last_id: int = LAST_ID) -> None:
        self.rows = rows
        self.first_id = first_id
        self.epoch = 0
        """Grows each time ids start over; whatever was cached for ids before must be dropped."""
        self._ids = last_id - first_id + 1
        self._counter = 0
        self._by_key: dict[Key, Extent] = {}

    @property
    def held(self) -> int:
        """The number of extents that unfinished requests need."""
        return sum(extent.holders > 0 for extent in self._by_key.values())

    def ids(self, extent: Extent) -> range:
        """The token ids of an extent, in order."""
        first = self.first_id + extent.start
        return range(first, first + extent.length)

    def row_numbers(self, extent: Extent) -> list[int]:
        """The rows in which an extent's features lie, in the order of its ids."""
        return [place % self.rows for place in range(extent.start, extent.start + extent.length)]

    def hold_if_filled(self, keys: Sequence[Key]) -> list[Extent] | None:
        """Hold the extents of all keys if every one is present with features, else hold none."""
        found = [self._by_key.get(key) for key in keys]
        extents = [extent for extent in found if extent is not None and extent.filled]
        if len(extents) < len(keys):
            return None
        return self._hold(extents)

    def hold(self, wanted: Sequence[tuple[Key, int]]) -> list[Extent] | None:
        """Hold an extent for each (key, length), reserving those that are absent.

        Returns None, and holds nothing, while rows that others hold are in the way. When nothing
        is held it always succeeds for lengths that sum to at most `rows`.
        """
        extents = self._try_hold(wanted)
        if extents is None and not self.held:
            # Only pictures that nobody needs stand in the way: start with an empty table.
            self._by_key.clear()
            if self._counter + sum(length for _, length in wanted) > self._ids:
                self._counter = 0
                self.epoch += 1
            extents = self._try_hold(wanted)
        return extents

    def release(self, extents: Sequence[Extent]) -> None:
        """Give back what `hold` gave; filled extents stay findable until their rows are needed."""
        for extent in extents:
            extent.holders -= 1
            if not extent.holders and not extent.filled:
                self._by_key.pop(extent.key, None)

    def _hold(self, extents: list[Extent]) -> list[Extent]:
        for extent in extents:
            extent.holders += 1
        return extents

    def _try_hold(self, wanted: Sequence[tuple[Key, int]]) -> list[Extent] | None:
        # What is present is held first, so that a reservation cannot overwrite it.
        present = self._hold([self._by_key[key] for key, _ in wanted if key in self._by_key])
        extents: list[Extent] = []
        for key, length in wanted:
            extent = self._by_key.get(key) or self._reserve(key, length)
            if extent is None:
                self.release(extents + present)
                return None
            extents += self._hold([extent])
        self.release(present)
        return extents

    def _reserve(self, key: Key, length: int) -> Extent | None:
        start = self._first_free(length)
        if start is None or start + length > self._ids:
            return None
        for other in [e for e in self._by_key.values() if self._overlaps(e, start, length)]:
            del self._by_key[other.key]
        extent = Extent(key, start, length)
        self._by_key[key] = extent
        self._counter = start + length
        return extent

    def _first_free(self, length: int) -> int | None:
        """The first place from the counter on, within one turn, whose rows nobody holds."""
        if length > self.rows:
            return None
        held = [extent for extent in self._by_key.values() if extent.holders]
        start, turn_ends = self._counter, self._counter + self.rows
        while start < turn_ends:
            blocking = [e for e in held if self._overlaps(e, start, length)]
            if not blocking:
                return start
            start += max(self._distance(start, e) + e.length for e in blocking)
        return None

    def _distance(self, start: int, extent: Extent) -> int:
        """Rows from `start` forward to the extent's first row; negative if `start` lies inside."""
        ahead = (extent.start - start) % self.rows
        return ahead - self.rows if self.rows - ahead < extent.length else ahead

    def _overlaps(self, extent: Extent, start: int, length: int) -> bool:
        return self._distance(start, extent) < length
