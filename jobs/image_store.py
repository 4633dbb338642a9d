"""Canonical pictures by tenant and digest, each kept as long as a job may show it."""

from __future__ import annotations

import redis

from jobs.errors import ImageExpired
from jobs.memory import FULL, full
from jobs.scripts import PREFIX
from jobs.store import told_plainly


class ImageStore:
    """The canonical bytes of pictures; the ledger prolongs the life of those that jobs show."""

    def __init__(self, client: redis.Redis, first_life_ms: int = 600_000) -> None:
        self._client = client
        self._first_life = first_life_ms

    def put(self, tenant: str, digest: str, data: bytes) -> None:
        """Keep a picture, for ten minutes unless a job is accepted that shows it.

        Raises LedgerFull, StoreUnavailable.
        """
        with told_plainly():
            if self._client.exists(FULL):
                raise full()
            key = self._key(tenant, digest)
            if not self._client.set(key, data, px=self._first_life, nx=True):
                self._prolong(key)

    def get(self, tenant: str, digest: str) -> bytes:
        """Return a picture's bytes; raises ImageExpired where they are no longer kept."""
        with told_plainly():
            data = self._client.get(self._key(tenant, digest))
        if data is None:
            raise ImageExpired("a picture of this job is no longer kept; submit it again")
        return bytes(data)

    def _prolong(self, key: str) -> None:
        if self._client.pttl(key) < self._first_life:
            self._client.pexpire(key, self._first_life)

    @staticmethod
    def _key(tenant: str, digest: str) -> str:
        return f"{PREFIX}image:{tenant}:{digest}"
