"""What a store may hold when every retention has passed, by name; all else is a leak."""

from __future__ import annotations

from typing import Any

from jobs.scripts import PREFIX

KEPT = {
    # An installation's own: who may call, what each tenant was set, who works, and who has led.
    *("key", "keys", "keys-by-tenant", "limits", "tenants", "webhook-secret", "paused"),
    *("worker", "workers", "models", "sweeper", "swept", "broker"),
    # Of a size that does not grow: numbers, and what the last hundred jobs took.
    *("seq", "fence", "counters", "ended", "claimed", "pace", "credits", "queued"),
    *("queued-total", "turn", "durable"),
    # One each, gone by itself: in a minute, an hour or two, and a week after a tenant's last job.
    *("minute", "rate", "call", "forgotten"),
}
"""Families of keys that stay."""


def leftovers(client: Any) -> list[str]:
    """The keys of a store that are of no such family."""
    names = [name.decode() for name in client.scan_iter(count=1000)]
    return sorted(name for name in names if _family(name) not in KEPT)


def _family(name: str) -> str:
    return name.removeprefix(PREFIX).split(":")[0]
