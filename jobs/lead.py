"""Who does what only one process at a time may do."""

from __future__ import annotations

import secrets

import redis

from jobs.scripts import PREFIX
from jobs.store import told_plainly


class Lead:
    """A lead that one process holds until it lets it lapse; ``role`` says of what."""

    def __init__(self, client: redis.Redis, role: str) -> None:
        self._client = client
        self._key = f"{PREFIX}{role}"
        self._name = secrets.token_hex(8).encode()

    def hold(self, for_ms: int) -> bool:
        """Take or keep the lead for ``for_ms``; False where another process has it.

        Raises StoreUnavailable.
        """
        with told_plainly():
            if self._client.set(self._key, self._name, px=for_ms, nx=True):
                return True
            if self._client.get(self._key) != self._name:
                return False
            return bool(self._client.pexpire(self._key, for_ms))
