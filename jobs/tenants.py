"""Tenants: what each may do beside the installation's own limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import redis

from jobs.errors import ConfigurationError
from jobs.records import decoded, record
from jobs.scripts import PREFIX, Durability, Scripts
from jobs.store import told_plainly

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
MOST_WAITING = 1_000
"""Tenants that one look at what waits takes in."""
MOST_BYTES = 10**15
"""The largest limit of bytes that can be set."""
_INDEX = f"{PREFIX}tenants"
BY_TENANT = f"{PREFIX}keys-by-tenant"
"""All keys as `tenant,key's id`; of a tenant with limits there is `tenant,`, too."""


@dataclass(frozen=True)
class TenantLimits:
    """A tenant's limits; None: the installation's. They count from the next request on.

    ``queued_jobs`` 0 keeps a tenant from submitting at all; ``retention_s`` is how long a job
    accepted from now on is kept once it has ended, in seconds. ``image_bytes`` 0 keeps it from
    sending pictures.
    """

    queued_jobs: int | None = None
    requests_per_minute: int | None = None
    retention_s: int | None = None
    image_bytes: int | None = None


@dataclass(frozen=True)
class Tenant:
    """A tenant: how many of its jobs wait, and its own limits."""

    name: str
    queued: int
    limits: TenantLimits


class Tenants:
    """The limits of all tenants, where the ledger's scripts read them.

    ``durability`` and ``replicas`` are as in jobs.scripts.
    Every method raises StoreUnavailable where the store cannot be used.
    """

    def __init__(
        self, client: redis.Redis, *, durability: Durability = "waitaof", replicas: int = 0
    ) -> None:
        self._client = client
        self._scripts = Scripts(client, durability=durability, replicas=replicas)

    def with_limits(self) -> list[str]:
        """Return the names of the tenants that have limits of their own."""
        with told_plainly():
            return sorted(name.decode() for name in self._client.smembers(_INDEX))

    def page(self, *, after: str | None = None, limit: int = 100) -> tuple[list[Tenant], bool]:
        """Return tenants that have keys or limits, by name, and whether there are more."""
        index_keys(self._client)
        has_more, *found = self._scripts.run("tenants", after or "", limit)
        tenants = [
            Tenant(n.decode(), int(queued), _limits(record(own))) for n, queued, own in found
        ]
        return tenants, bool(has_more)

    def limits(self, tenant: str) -> TenantLimits:
        """Return the limits that a tenant has of its own."""
        with told_plainly():
            return _limits(decoded(self._client.hgetall(_key(tenant))))

    def set_limits(self, tenant: str, limits: TenantLimits) -> None:
        """Set all of a tenant's own limits at once, once that is durable.

        Raises ConfigurationError for a bad name.
        """
        fields = [part for pair in vars(limits).items() if pair[1] is not None for part in pair]
        self._scripts.run("set_limits", named(tenant), *fields, durable=True)

    def waiting(self, most: int = MOST_WAITING) -> dict[str, int]:
        """Return how many jobs of each tenant wait, most first; of about ``most`` tenants."""
        with told_plainly():
            _, found = self._client.hscan(f"{PREFIX}queued-by-tenant", count=most)
        counts = {name: int(count) for name, count in decoded(found).items()}
        return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))

    def queued(self, tenant: str) -> int:
        """Return how many jobs of a tenant wait."""
        with told_plainly():
            return int(self._client.hget(f"{PREFIX}queued-by-tenant", tenant) or 0)


def is_name(text: str) -> bool:
    """Whether a text can be a tenant's name."""
    return _NAME.fullmatch(text) is not None


def named(tenant: str) -> str:
    """Return a tenant's name; raises ConfigurationError where it cannot be one."""
    if not is_name(tenant):
        raise ConfigurationError(
            "a tenant's name is up to 64 letters, digits, '.', '_' and '-'", param="tenant"
        )
    return tenant


def index_keys(client: redis.Redis) -> None:
    """Have the index be whole, in which an older version that runs beside us writes nothing."""
    with told_plainly(), client.pipeline(transaction=False) as pipe:
        pipe.zcard(BY_TENANT)
        pipe.scard(f"{PREFIX}keys")
        pipe.scard(_INDEX)
        entries, keys, tenants = pipe.execute()
    if entries != keys + tenants:
        Scripts(client).run("index_keys")


def _limits(fields: Mapping[str, str]) -> TenantLimits:
    return TenantLimits(
        **{name: int(fields[name]) for name in vars(TenantLimits()) if name in fields}
    )


def _key(tenant: str) -> str:
    return f"{PREFIX}limits:{tenant}"
