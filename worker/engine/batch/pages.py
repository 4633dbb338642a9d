"""The pages of the key and value cache: who has which, and what whole pages hold of prompts."""

from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence

ROOT = 0
"""What the first page of every prompt follows."""


class Pages:
    """Gives pages to requests and finds the pages that hold the beginning of a prompt.

    Pages are numbered from 1: page 0 takes what nobody reads. A whole page is found by its tokens
    and the page it follows, compared in full, so no prompt finds another's keys by a collision of
    hashes. Pages that no request has stay findable until their room is needed, and those unused
    longest go first. Sharing whole pages by their tokens is the idea of vLLM's prefix caching.
    """

    def __init__(self, count: int, size: int) -> None:
        """Manage `count` pages of `size` tokens each."""
        self.count = count
        self.size = size
        self._empty = list(range(count, 0, -1))
        self._holders = [0] * (count + 1)
        self._unused: OrderedDict[int, None] = OrderedDict()
        self._found: dict[tuple[int, bytes], int] = {}
        self._names: dict[int, tuple[int, tuple[int, bytes]]] = {}
        self._last_name = ROOT

    @property
    def empty(self) -> int:
        """How many pages hold nothing."""
        return len(self._empty)

    @property
    def free(self) -> int:
        """How many pages could be given to a request."""
        return len(self._empty) + len(self._unused)

    def needed(self, tokens: int) -> int:
        """How many pages so many tokens of one request take."""
        return -(-tokens // self.size)

    def match(self, ids: Sequence[int]) -> list[int]:
        """The pages that hold the longest cached beginning of a prompt.

        At least one of the prompt's tokens is left out, since something must pass the model for an
        answer to begin.
        """
        pages: list[int] = []
        name = ROOT
        for block in self._blocks(ids, (len(ids) - 1) // self.size):
            page = self._found.get((name, block))
            if page is None:
                break
            pages.append(page)
            name = self._names[page][0]
        return pages

    def take(self, ids: Sequence[int], tokens: int) -> tuple[list[int], int]:
        """Give a request the pages for so many tokens, of which `ids` are the first.

        Returns its pages in order, and how many of them were found with its prompt's keys. There
        must be enough pages (`free`).
        """
        shared = self.match(ids)
        for page in shared:
            self._holders[page] += 1
            self._unused.pop(page, None)
        pages = shared + [self._new() for _ in range(self.needed(tokens) - len(shared))]
        return pages, len(shared)

    def remember(self, ids: Sequence[int], pages: Sequence[int]) -> None:
        """Make the whole pages of a request findable: `ids` are the tokens whose keys they hold."""
        name = ROOT
        for block, page in zip(self._blocks(ids, len(ids) // self.size), pages, strict=False):
            holder = self._found.setdefault((name, block), page)
            if holder not in self._names:
                self._last_name += 1
                self._names[holder] = self._last_name, (name, block)
            name = self._names[holder][0]

    def give_back(self, pages: Sequence[int]) -> None:
        """End a request's hold on its pages; the last of a prompt are the first to be forgotten."""
        for page in reversed(pages):
            self._holders[page] -= 1
            if self._holders[page]:
                continue
            if page in self._names:
                self._unused[page] = None
            else:
                self._empty.append(page)

    def forget(self) -> None:
        """Find nothing any more of what was cached until now."""
        self._found.clear()
        self._names.clear()
        self._empty.extend(self._unused)
        self._unused.clear()

    def _new(self) -> int:
        if not self._empty:
            page, _ = self._unused.popitem(last=False)
            del self._found[self._names.pop(page)[1]]
            self._empty.append(page)
        page = self._empty.pop()
        self._holders[page] = 1
        return page

    def _blocks(self, ids: Sequence[int], count: int) -> Iterator[bytes]:
        for start in range(0, count * self.size, self.size):
            yield array("q", ids[start : start + self.size]).tobytes()
