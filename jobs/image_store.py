"""Canonical pictures by tenant and digest, each kept as long as a job may show it."""

from __future__ import annotations

import redis

from jobs.errors import ImageExpired
from jobs.ledger import Limits
from jobs.refusals import refusal
from jobs.scripts import PREFIX, Scripts
from jobs.store import told_plainly


class ImageStore:
    """The canonical bytes of pictures; the ledger prolongs the life of those that jobs show.

    Those of one tenant have at most ``most_of_tenant`` bytes together.
    """

    def __init__(
        self,
        client: redis.Redis,
        first_life_ms: int = 600_000,
        most_of_tenant: int = Limits.tenant_images,
    ) -> None:
        self._client = client
        self._run = Scripts(client).run
        self._first_life = first_life_ms
        self._most_of_tenant = most_of_tenant

    def put(self, tenant: str, digest: str, data: bytes) -> None:
        """Keep a picture, for ten minutes unless a job is accepted that shows it.

        Raises LedgerFull, TenantImagesFull, StoreUnavailable.
        """
        reply = self._run("put_image", tenant, digest, data, self._first_life, self._most_of_tenant)
        if refused := refusal(reply):
            raise refused

    def get(self, tenant: str, digest: str) -> bytes:
        """Return a picture's bytes; raises ImageExpired where they are no longer kept."""
        with told_plainly():
            data = self._client.get(self._key(tenant, digest))
        if data is None:
            raise ImageExpired("a picture of this job is no longer kept; submit it again")
        return bytes(data)

    @staticmethod
    def _key(tenant: str, digest: str) -> str:
        return f"{PREFIX}image:{tenant}:{digest}"
