"""How it goes with the receivers of webhooks: what waits for each, and which have gone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import redis

from jobs.scripts import PREFIX
from jobs.store import server_time, told_plainly

MOST_SHOWN = 20


@dataclass(frozen=True)
class Receiver:
    """A host that is to be told something.

    ``due`` deliveries wait for a sender, ``sending`` are under way, and ``failing`` wait for their
    next try. The oldest of those that are due has been so for ``overdue_ms``.
    """

    host: str
    due: int
    sending: int
    failing: int
    overdue_ms: int


@dataclass(frozen=True)
class Health:
    """Those receivers whose turn comes first, of ``hosts`` in all.

    ``disabled`` has the tenants whose receivers answered 410 last, and of how many URLs.
    """

    receivers: tuple[Receiver, ...]
    hosts: int
    disabled: Mapping[str, int]


class ReceiverHealth:
    """Looks at a bounded number of receivers; ``clock`` returns milliseconds since the epoch."""

    def __init__(self, client: redis.Redis, clock: Callable[[], int] | None = None) -> None:
        self._client = client
        self._clock = clock or (lambda: server_time(client))

    def look(self, most: int = MOST_SHOWN) -> Health:
        """Return how it goes with ``most`` receivers and tenants; raises StoreUnavailable."""
        with told_plainly(), self._client.pipeline(transaction=False) as pipe:
            now = self._clock()
            pipe.zrange(f"{PREFIX}receivers", 0, most - 1)
            pipe.zcard(f"{PREFIX}receivers")
            pipe.zrevrange(f"{PREFIX}gone-tenants", 0, most - 1)
            hosts, count, tenants = pipe.execute()
            for host in map(bytes.decode, hosts):
                pipe.zcount(f"{PREFIX}deliveries:{host}", "-inf", now)
                pipe.zcard(f"{PREFIX}sending:{host}")
                pipe.zcard(f"{PREFIX}deliveries:{host}")
                pipe.zrange(f"{PREFIX}deliveries:{host}", 0, 0, withscores=True)
            for tenant in map(bytes.decode, tenants):
                pipe.hlen(f"{PREFIX}gone:{tenant}")
            replies = iter(pipe.execute())
        receivers = tuple(
            _receiver(host.decode(), now, *(next(replies) for _ in range(4))) for host in hosts
        )
        gone = {tenant.decode(): next(replies) for tenant in tenants}
        return Health(receivers, count, {tenant: urls for tenant, urls in gone.items() if urls})


def _receiver(
    host: str, now: int, due: int, sending: int, waiting: int, first: list[tuple[bytes, float]]
) -> Receiver:
    overdue = max(0, now - int(first[0][1])) if first else 0
    return Receiver(host, due, sending, waiting - due, overdue)
