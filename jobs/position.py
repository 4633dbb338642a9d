"""Positions in the queue: how many jobs of a class are claimed, at most, until one is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis

from jobs.job import Draft, Job
from jobs.scripts import PREFIX
from jobs.store import told_plainly


def ranked(
    client: redis.Redis, one: Job | Draft, rank: Callable[[Any, str], object]
) -> tuple[int | None, int, int]:
    """Return a rank in a tenant's queue, and how many tenants and jobs wait in its class.

    ``rank`` asks for the first, of the pipeline and the queue's key. Raises StoreUnavailable.
    """
    with told_plainly(), client.pipeline(transaction=False) as pipe:
        rank(pipe, f"{PREFIX}queue:{one.model}:{one.priority}:{one.tenant}")
        pipe.zcard(f"{PREFIX}turns:{one.model}:{one.priority}")
        pipe.hget(f"{PREFIX}queued:{one.model}", one.priority)
        found, tenants, queued = pipe.execute()
    return found, int(tenants), int(queued or 0)


def bound(rank: int, tenants: int, queued: int) -> int:
    """Return the most jobs of a class that are claimed until one of that rank is, itself included.

    ``tenants`` take turns in the class, in which ``queued`` jobs wait.
    """
    return min(rank * max(tenants, 1) + tenants, queued) or 1
