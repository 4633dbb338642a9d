"""The store's memory: nothing is accepted any more before there is none left."""

from __future__ import annotations

import redis

from jobs.errors import LedgerFull
from jobs.scripts import PREFIX
from jobs.store import told_plainly

FULL = f"{PREFIX}full"
"""While this key is there, submit.lua accepts no job and the image store no picture."""


class Memory:
    """How full a store is; one whose server has no limit (``maxmemory`` 0) is never full."""

    def __init__(self, client: redis.Redis, most_percent: int) -> None:
        self._client = client
        self._most_percent = most_percent

    def guard(self, for_ms: int) -> bool:
        """Have nothing accepted for ``for_ms`` where memory is fuller than it may be.

        Returns whether it is. What runs goes on, and makes room. Raises StoreUnavailable.
        """
        with told_plainly():
            told = self._client.info("memory")
            limit, used = int(told["maxmemory"]), int(told["used_memory"])
            full = limit > 0 and used * 100 > limit * self._most_percent
            if full:
                self._client.set(FULL, 1, px=for_ms)
            else:
                self._client.delete(FULL)
        return full


def full() -> LedgerFull:
    """Return the error that tells a caller so."""
    return LedgerFull("the store has no memory left; try again later", retry_after=30)
