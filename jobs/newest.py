"""A tenant's records in the order in which they were made, a page at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import redis

from jobs.records import decoded
from jobs.store import told_plainly

_AT_ONCE = 500


class Newest:
    """Records whose ids are in the sorted set ``index``, the newest last; ``key`` is of one's hash.

    An id may be there whose record has gone since.
    """

    def __init__(self, client: redis.Redis, index: str, key: Callable[[str], str]) -> None:
        self._client = client
        self._index = index
        self._key = key

    def page(
        self,
        limit: int,
        after: str | None,
        *,
        ascending: bool = False,
        wanted: Callable[[Mapping[str, str]], bool] = lambda _: True,
    ) -> tuple[list[dict[str, str]], bool] | None:
        """Return up to ``limit`` records behind the id ``after``, and whether there are more.

        None where ``after`` leads nowhere. Raises StoreUnavailable.
        """
        start = 0
        if after is not None:
            rank = self._client.zrank if ascending else self._client.zrevrank
            with told_plainly():
                place = rank(self._index, after)
            if place is None:
                return None
            start = place + 1
        found: list[dict[str, str]] = []
        while some := self._some(start, ascending):
            for fields in some:
                if fields and wanted(fields):
                    if len(found) == limit:
                        return found, True
                    found.append(fields)
            start += len(some)
        return found, False

    def _some(self, start: int, ascending: bool) -> list[dict[str, str]]:
        end = start + _AT_ONCE - 1
        with told_plainly(), self._client.pipeline(transaction=False) as pipe:
            for found in self._client.zrange(self._index, start, end, desc=not ascending):
                pipe.hgetall(self._key(found.decode()))
            return [decoded(fields) for fields in pipe.execute()]
