"""Failed jobs by the reason for which they failed, until they are forgotten or asked again."""

from __future__ import annotations

import json
from dataclasses import dataclass

import redis

from jobs.job import Reason
from jobs.scripts import PREFIX
from jobs.store import told_plainly

REASONS = (Reason.ERROR, Reason.POISON, Reason.DEADLINE, Reason.EXPIRED, Reason.REFUSED)
"""Why jobs fail."""


@dataclass(frozen=True)
class Failure:
    """A job that failed, without what it asked; ``code`` is its error's, if it has one.

    ``finished_at`` is in milliseconds since the epoch.
    """

    id: str
    tenant: str
    model: str
    reason: Reason
    code: str | None
    finished_at: int


class Failures:
    """The failed jobs of all tenants; every method raises StoreUnavailable.

    Neither costs more because more have failed.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def counts(self) -> dict[Reason, int]:
        """Return how many jobs have failed for each reason, zeros included."""
        with told_plainly(), self._client.pipeline(transaction=False) as pipe:
            for reason in REASONS:
                pipe.zcard(_index(reason))
            return dict(zip(REASONS, pipe.execute(), strict=True))

    def newest(self, reason: Reason, limit: int = 50) -> list[Failure]:
        """Return those that failed last for a reason, at most ``limit`` of them."""
        with told_plainly():
            ids = self._client.zrevrange(_index(reason), 0, limit - 1)
        return self._read(reason, ids)

    def oldest(self, reason: Reason, limit: int, skip: int = 0) -> list[Failure]:
        """Return those that failed first for a reason, behind the first ``skip`` of them."""
        with told_plainly():
            ids = self._client.zrange(_index(reason), skip, skip + limit - 1)
        return self._read(reason, ids)

    def _read(self, reason: Reason, ids: list[bytes]) -> list[Failure]:
        with told_plainly(), self._client.pipeline(transaction=False) as pipe:
            for job_id in ids:
                pipe.hmget(f"{PREFIX}job:{job_id.decode()}", "tenant", "model", "finished", "error")
            found = pipe.execute()
        return [
            Failure(
                id=job_id.decode(),
                tenant=tenant.decode(),
                model=model.decode(),
                reason=reason,
                code=json.loads(error).get("code") if error else None,
                finished_at=int(finished),
            )
            for job_id, (tenant, model, finished, error) in zip(ids, found, strict=True)
            if tenant  # it may have been forgotten between the two looks
        ]


def _index(reason: Reason) -> str:
    return f"{PREFIX}failed:{reason}"
