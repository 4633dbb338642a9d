"""Secrets that webhooks are signed with: one a tenant, and for a day the one before it."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Callable
from functools import partial

import redis

from jobs.errors import Conflict
from jobs.scripts import PREFIX, Durability, Scripts
from jobs.store import told_plainly
from jobs.tenants import named

OVERLAP_MS = 24 * 3600 * 1000
"""How long the secret before a rotation signs beside the new one."""
_BYTES = 32


class WebhookSecrets:
    """The secrets of all tenants; every method raises StoreUnavailable.

    ``clock`` returns milliseconds since the epoch; ``durability`` and ``replicas`` are as in
    jobs.scripts, so that a secret that somebody has been told is not lost with the store's power.
    """

    def __init__(
        self,
        client: redis.Redis,
        clock: Callable[[], int] | None = None,
        *,
        durability: Durability = "waitaof",
        replicas: int = 0,
    ) -> None:
        self._client = client
        self._clock = clock or (lambda: round(time.time() * 1000))
        scripts = Scripts(client, clock=self._clock, durability=durability, replicas=replicas)
        self._run = partial(scripts.run, "rotate_secret", durable=True)

    def create(self, tenant: str) -> str:
        """Make a tenant's secret and return it, the only time that it can be seen.

        Raises Conflict where there is one, ConfigurationError where the name is no tenant's.
        """
        secret = _drawn()
        if not self._run(named(tenant), secret, OVERLAP_MS, 1):
            raise Conflict(
                "there is a webhook secret already, and it is not shown again; rotate it",
                code="webhook_secret_exists",
            )
        return secret

    def rotate(self, tenant: str) -> str:
        """Make a new secret and return it; the one before signs beside it for a day.

        A second rotation ends the one before at once. Raises ConfigurationError as above.
        """
        secret = _drawn()
        self._run(named(tenant), secret, OVERLAP_MS, 0)
        return secret

    def valid(self, tenant: str) -> list[str]:
        """Return the secrets that sign now, the newest first; none where none was made."""
        with told_plainly():
            current, previous, until = self._client.hmget(
                f"{PREFIX}webhook-secret:{tenant}", "current", "previous", "previous_until"
            )
        found = [current.decode()] if current else []
        if previous and self._clock() < int(until):
            found.append(previous.decode())
        return found


def _drawn() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(_BYTES)).decode()}"
