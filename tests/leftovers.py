"""What a store may hold when every retention has passed, by name; all else is a leak."""

from __future__ import annotations

from typing import Any

from jobs.scripts import PREFIX

OF_MODELS = {"workers", "credits", "queued", "pace"}
"""Families that have one key a model, until a month after its last claim."""
NUMBERS = {
    *("seq", "fence", "counters", "ended", "claimed", "queued-total", "turn", "durable"),
    *("models", "swept"),
}
"""Keys of a size that does not grow."""
KEPT = {
    *NUMBERS,
    *OF_MODELS,
    # An installation's own: who may call, what each tenant was set, who works, and who leads.
    *("key", "keys", "keys-by-tenant", "limits", "tenants", "webhook-secret", "paused"),
    *("worker", "sweeper", "broker"),
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
