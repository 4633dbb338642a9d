"""How many requests a tenant may send: spent one by one, restored evenly over a minute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import redis

from jobs.keys import Key, Keys, parted
from jobs.records import record
from jobs.scripts import Scripts

WINDOW_S = 60
"""Seconds in which all of a tenant's requests are restored."""


@dataclass(frozen=True)
class Share:
    """What is left to a tenant after a request; times in milliseconds.

    ``wait`` is how long until there is another where this one was not ``admitted``, ``reset`` how
    long until all of ``limit`` are there again.
    """

    admitted: bool
    limit: int
    left: int
    wait: int
    reset: int

    @classmethod
    def read(cls, reply: Sequence[int]) -> Share:
        """Return what a script says of it."""
        admitted, *numbers = reply
        return cls(bool(admitted), *numbers)


class Rates:
    """The requests of all tenants; ``per_minute`` each, where a tenant has no limit of its own.

    All of a minute's may come at once. ``clock`` is as in jobs.scripts.
    """

    def __init__(
        self, client: redis.Redis, per_minute: int, *, clock: Callable[[], int] | None = None
    ) -> None:
        self._run = Scripts(client, clock=clock).run
        self._per_minute = per_minute

    def spend(self, tenant: str) -> Share:
        """Count a request and return what is left; raises StoreUnavailable."""
        return Share.read(self._run("spend", tenant, self._per_minute))

    def admit(self, keys: Keys, key: str) -> tuple[Key, Share]:
        """Say whose a key is, and count a request as its tenant's, in one step.

        What is sent with no good key is counted as nobody's. Raises Unauthorized, StoreUnavailable.
        """
        key_id, digest = parted(key)
        fields, share = self._run("spend", "", self._per_minute, key_id, digest)
        found = keys.checked(key_id, digest, record(fields))
        # The two clocks may disagree about a key's last moment.
        return found, Share.read(share) if share else self.spend(found.tenant)
