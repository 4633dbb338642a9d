"""How many requests a tenant may send: spent one by one, restored evenly over a minute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import redis

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
        admitted, *numbers = self._run("spend", tenant, self._per_minute)
        return Share(bool(admitted), *numbers)
