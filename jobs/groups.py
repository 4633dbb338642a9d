"""All jobs of a group at once: stopped or erased, so many a call and few a script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import redis

from jobs.job import Job
from jobs.listing import Listing
from jobs.scripts import PREFIX, Scripts
from jobs.store import told_plainly

MOST_AT_ONCE = 1_000
"""Jobs that one call stops or erases."""
_IN_ONE_SCRIPT = 100
"""Some milliseconds, in which the store does nothing else."""


@dataclass(frozen=True)
class Canceled:
    """Jobs of a group that were stopped, or had ended, newest first.

    ``after`` is what the next call passes to go on, and None where there is no more; ``remaining``
    is how many jobs it will find.
    """

    jobs: Sequence[Job]
    after: str | None
    remaining: int


@dataclass(frozen=True)
class Erased:
    """How many jobs of a group were erased, and how many remain for the next call."""

    erased: int
    remaining: int


class Groups:
    """The groups of all tenants; every method raises StoreUnavailable."""

    def __init__(self, client: redis.Redis, scripts: Scripts) -> None:
        self._client = client
        self._listing = Listing(client)
        self._run = scripts.run

    def cancel(self, tenant: str, group: str, after: str | None = None) -> Canceled | None:
        """Stop a group's jobs, newest first, those behind the job ``after``, once that is durable.

        None where ``after`` leads nowhere.
        """
        below = ""
        if after is not None:
            with told_plainly():
                number = self._client.zscore(_key(tenant, group), after)
            if number is None:
                return None
            below = f"({number:.0f}"
        ids, remaining = self._newest(tenant, group, below)
        self._run_each("cancel", tenant, ids)
        jobs = self._listing.by_ids(tenant, ids)
        return Canceled(jobs, ids[-1] if remaining else None, remaining)

    def erase(self, tenant: str, group: str) -> Erased:
        """Leave nothing of a group's jobs, newest first, once that is durable."""
        ids, remaining = self._newest(tenant, group)
        return Erased(self._run_each("erase", tenant, ids), remaining)

    def _newest(self, tenant: str, group: str, below: str = "") -> tuple[list[str], int]:
        """Return the newest of a group's jobs below a number, and how many come behind them."""
        key, highest = _key(tenant, group), below or "+inf"
        with told_plainly(), self._client.pipeline(transaction=False) as pipe:
            pipe.zrevrangebyscore(key, highest, "-inf", start=0, num=MOST_AT_ONCE)
            pipe.zcount(key, "-inf", highest)
            ids, count = pipe.execute()
        return [job_id.decode() for job_id in ids], count - len(ids)

    def _run_each(self, name: str, tenant: str, ids: Sequence[str]) -> int:
        """Run a script on jobs, some at a time; the last sync to disk is that of all before it."""
        done = 0
        for some, is_last in _parts(ids):
            done += self._run(name, tenant, *some, durable=is_last)
        return done


def _parts(ids: Sequence[str]) -> Iterator[tuple[Sequence[str], bool]]:
    for start in range(0, len(ids), _IN_ONE_SCRIPT):
        end = start + _IN_ONE_SCRIPT
        yield ids[start:end], end >= len(ids)


def _key(tenant: str, group: str) -> str:
    return f"{PREFIX}group:{tenant}:{group}"
