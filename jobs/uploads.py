"""Uploads: pictures that are sent once and named by id in later jobs."""

from __future__ import annotations

from dataclasses import dataclass

import redis

from jobs.job import new_id
from jobs.ledger import Limits
from jobs.records import decoded
from jobs.refusals import refusal
from jobs.scripts import PREFIX, Scripts
from jobs.store import told_plainly


@dataclass(frozen=True)
class Upload:
    """A stored picture with an id; sizes in pixels, ``expires_at`` in ms since the epoch."""

    id: str
    digest: str
    width: int
    height: int
    expires_at: int


class Uploads:
    """The uploads of all tenants, each kept for ``life_ms``.

    They count in the bytes of a tenant's pictures, as ImageStore has them. Every method raises
    StoreUnavailable.
    """

    def __init__(
        self,
        client: redis.Redis,
        scripts: Scripts,
        life_ms: int,
        most_of_tenant: int = Limits.tenant_images,
    ) -> None:
        self._client = client
        self._run = scripts.run
        self._life = life_ms
        self._most_of_tenant = most_of_tenant

    def add(self, tenant: str, digest: str, width: int, height: int) -> Upload:
        """Give a picture in the image store an id, once that is durable.

        Raises ImageExpired where the picture is not there, TenantImagesFull, LedgerFull.
        """
        upload_id = new_id("img")
        reply = self._run(
            *("upload", tenant, upload_id, digest, width, height, self._life),
            self._most_of_tenant,
            durable=True,
        )
        if refused := refusal(reply):
            raise refused
        return Upload(upload_id, digest, width, height, int(reply[1]))

    def get(self, tenant: str, upload_id: str) -> Upload | None:
        """Return a tenant's upload; None where there is none, or none any more."""
        with told_plainly():
            fields = decoded(self._client.hgetall(f"{PREFIX}upload:{tenant}:{upload_id}"))
        if not fields:
            return None
        width, height, expires = (int(fields[name]) for name in ("width", "height", "expires"))
        return Upload(upload_id, fields["digest"], width, height, expires)

    def discard(self, tenant: str, upload_id: str) -> bool:
        """Leave nothing of a tenant's upload, once that is durable; False where there is none.

        Its picture stays as long as jobs show it, or another upload has it.
        """
        return bool(self._run("discard", tenant, upload_id, durable=True))
