"""Asking again what a job asked in vain: a new job, and the one before stays as it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import redis

from jobs.errors import Conflict, JobsError, StoreUnavailable
from jobs.failures import Failures
from jobs.job import Draft, Job, Reason, Status
from jobs.ledger import Ledger
from jobs.records import decoded
from jobs.scripts import PREFIX
from jobs.store import told_plainly
from jobs.webhook import Webhook

MOST_AT_ONCE = 200
"""Jobs that one call of ``retry_failed`` looks at: each is synced to disk before the next."""


@dataclass(frozen=True)
class Bulk:
    """What became of failed jobs that were asked again.

    ``retried`` has the new jobs, ``kept`` counts by error code those that could not be, and
    ``left`` those that were not looked at; ``skip`` is what the next call passes to get to these.
    """

    retried: tuple[Job, ...]
    kept: Mapping[str, int]
    left: int
    skip: int


class Retrying:
    """Asks again; ``revision`` is that of the model which answers now.

    A job is asked again once, however often that is called: the ledger finds the new job under an
    idempotency key that is made of the old one's id.
    """

    def __init__(self, client: redis.Redis, ledger: Ledger, revision: str = "") -> None:
        self._client = client
        self._ledger = ledger
        self._failures = Failures(client)
        self._revision = revision

    def retry(self, tenant: str, job_id: str) -> Job | None:
        """Return the job that asks again what a failed or canceled one asked.

        None where the tenant has no such job. The new one's metadata says in ``retry_of`` which one
        that was. Raises Conflict where that has not failed; ImageExpired where its picture is no
        longer kept; and what Ledger.submit raises.
        """
        with told_plainly():
            fields = decoded(self._client.hgetall(f"{PREFIX}job:{job_id}"))
        if fields.get("tenant") != tenant:
            return None
        failed = Job.from_record(fields)
        if failed.status not in (Status.FAILED, Status.CANCELED):
            raise Conflict("only a job that failed can be asked again", code="job_not_failed")
        job, _ = self._ledger.submit(self._draft(failed, fields))
        if not self._ledger.scripts.run("retried", failed.id, tenant, job.id):
            # It was erased meanwhile, and no copy of it may be left.
            self._ledger.erase(tenant, job.id)
            return None
        return job

    def retry_any(self, job_id: str) -> Job | None:
        """Do so for whichever tenant has the job."""
        with told_plainly():
            tenant = self._client.hget(f"{PREFIX}job:{job_id}", "tenant")
        return self.retry(tenant.decode(), job_id) if tenant else None

    def retry_failed(self, reason: Reason, skip: int = 0, at_most: int = MOST_AT_ONCE) -> Bulk:
        """Ask again what failed for a reason, oldest first, behind the first ``skip`` of them.

        One that cannot be asked again stays where it is. Raises StoreUnavailable.
        """
        retried: list[Job] = []
        kept: Counter[str] = Counter()
        for failure in self._failures.oldest(reason, at_most, skip):
            try:
                found = self.retry(failure.tenant, failure.id)
            except StoreUnavailable:
                raise
            except JobsError as error:
                kept[error.code] += 1
            else:
                retried += [found] if found else []
        skip += kept.total()
        left = max(0, self._failures.counts()[reason] - skip)
        return Bulk(tuple(retried), dict(kept), left, skip)

    def _draft(self, failed: Job, fields: Mapping[str, str]) -> Draft:
        return Draft(
            tenant=failed.tenant,
            model=failed.model,
            conversation=failed.conversation,
            parameters=failed.parameters,
            priority=failed.priority,
            deadline_ms=failed.due_at - failed.created_at if failed.has_deadline else None,
            group=failed.group,
            metadata={**failed.metadata, "retry_of": failed.id},
            # No header can have a line break, so this is nobody's own key.
            idempotency_key=f"retry of\n{failed.id}",
            previous=failed.previous,
            cache=bool(fields.get("work")),
            revision=self._revision,
            trace=failed.trace,
            key=fields.get("key", ""),
            webhook=Webhook.from_json(fields["webhook"]) if fields.get("webhook") else None,
        )
