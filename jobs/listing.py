"""A tenant's jobs, found by status, by group, or by id."""

from __future__ import annotations

from dataclasses import dataclass

import redis

from jobs.job import Job, Status
from jobs.records import decoded, record
from jobs.scripts import PREFIX, Scripts
from jobs.store import told_plainly

MOST_EXAMINED = 250
"""Jobs that one call looks at; a filter that few pass may return fewer than asked, and a cursor.

By status alone there is an index; it is a status within a group that few may pass."""


@dataclass(frozen=True)
class Page:
    """Jobs, newest first, and the cursor of the page after it; None where this is the last."""

    jobs: tuple[Job, ...]
    after: str | None


class Listing:
    """Looks for jobs; every method raises StoreUnavailable."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._run = Scripts(client).run

    def page(
        self,
        tenant: str,
        *,
        status: Status | None = None,
        group: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Page | None:
        """Return a tenant's jobs below the cursor ``after``; None where that leads nowhere.

        A cursor is the id of a job, which may have been forgotten since.
        """
        below = ""
        if after is not None:
            with told_plainly():
                number = self._client.zscore(f"{PREFIX}jobs:{tenant}", after)
            if number is None:
                return None
            below = f"{number:.0f}"
        left, *found = self._run(
            "list", tenant, group or "", status or "", below, limit, MOST_EXAMINED
        )
        jobs = tuple(Job.from_record(record(flat)) for flat in found)
        return Page(jobs, self._id_at(tenant, left) if left else None)

    def by_ids(self, tenant: str, ids: list[str]) -> list[Job]:
        """Return those of the jobs that exist and are the tenant's, in the order of ``ids``."""
        with told_plainly(), self._client.pipeline(transaction=False) as pipe:
            for job_id in ids:
                pipe.hgetall(f"{PREFIX}job:{job_id}")
            found = [Job.from_record(decoded(fields)) for fields in pipe.execute() if fields]
        return [job for job in found if job.tenant == tenant]

    def asked_with(self, tenant: str, key_id: str, limit: int) -> list[Job]:
        """Return the jobs that came with an API key last, newest first.

        No more than the latest 20 are known, and none of a batch, of which each line is a job.
        """
        with told_plainly():
            ids = self._client.lrange(f"{PREFIX}jobs:{tenant}:{key_id}", 0, limit - 1)
        return self.by_ids(tenant, [job_id.decode() for job_id in ids])

    def _id_at(self, tenant: str, number: bytes) -> str | None:
        with told_plainly():
            ids = self._client.zrangebyscore(f"{PREFIX}jobs:{tenant}", number, number)
        return ids[0].decode() if ids else None
