"""Deliveries: the ends of jobs that receivers are to be told, and what became of each attempt.

The script that ends a job puts its delivery into the store, so that no end goes without one and
none has two. A sender is given deliveries under a lease; where it dies, they are due again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import redis

from jobs.errors import Conflict
from jobs.job import Job
from jobs.records import decoded, record
from jobs.scripts import PREFIX, Scripts
from jobs.store import told_plainly
from jobs.webhook import Attempt, Told, Webhook

MOST_ATTEMPTS_SHOWN = 50


class Verdict(StrEnum):
    """What an attempt means for a delivery."""

    DELIVERED = "delivered"
    RETRY = "retry"
    GONE = "gone"


@dataclass(frozen=True)
class Delivery:
    """The end of a job, to be told to its receiver; ``next_at`` in milliseconds.

    ``tries`` counts attempts since it was last asked for, this one included. With ``fence`` the
    sender that has it notes what became of it.
    """

    job: Job
    webhook: Webhook
    status: Told
    attempts: tuple[Attempt, ...]
    next_at: int | None
    tries: int
    fence: str

    @property
    def id(self) -> str:
        """The delivery's id: the same at every attempt, so that a receiver knows a repeat."""
        return f"msg_{self.job.id.removeprefix('job_')}"

    @classmethod
    def from_record(cls, fields: Mapping[str, str]) -> Delivery | None:
        """Read the delivery of a job's record; None where there is none, or not yet."""
        if not fields.get("webhook_status"):
            return None
        return cls(
            job=Job.from_record(fields),
            webhook=Webhook.from_json(fields["webhook"]),
            status=Told(fields["webhook_status"]),
            attempts=tuple(
                Attempt.from_data(data) for data in json.loads(fields.get("webhook_attempts", "[]"))
            ),
            next_at=int(fields["webhook_next"]) if fields.get("webhook_next") else None,
            tries=int(fields.get("webhook_tries", 0)),
            fence=fields.get("webhook_fence", ""),
        )


class Deliveries:
    """The deliveries of all tenants; every method raises StoreUnavailable.

    ``clock`` is as in jobs.scripts.
    """

    def __init__(self, client: redis.Redis, clock: Callable[[], int] | None = None) -> None:
        self._client = client
        self._run = Scripts(client, clock=clock).run

    def of(self, tenant: str, job_id: str) -> tuple[Delivery, ...] | None:
        """Return the deliveries of a tenant's job, one or none; None where there is no such job."""
        with told_plainly():
            fields = decoded(self._client.hgetall(f"{PREFIX}job:{job_id}"))
        if fields.get("tenant") != tenant:
            return None
        found = Delivery.from_record(fields)
        return (found,) if found else ()

    def claim(
        self, most: int, lease_ms: int, *, to_one_host: int = 4, of_one_tenant: int = 32
    ) -> list[Delivery]:
        """Give a sender deliveries that are due, for ``lease_ms``; the hosts take turns.

        Counted over all senders, only so many are under way ``to_one_host`` and ``of_one_tenant``.
        """
        flat = self._run("deliver", lease_ms, most, to_one_host, of_one_tenant)
        found = [Delivery.from_record(record(fields)) for fields in flat]
        return [delivery for delivery in found if delivery]

    def note(self, delivery: Delivery, outcome: int | str, verdict: Verdict, wait_ms: int) -> bool:
        """Note what became of an attempt, and when the next is due where there is to be one.

        ``outcome`` is the status that was answered, or the code of an error. False where the
        delivery is no longer the caller's, and nothing changed.
        """
        return bool(
            self._run(
                "delivered",
                delivery.job.id,
                delivery.fence,
                outcome if isinstance(outcome, int) else "",
                outcome if isinstance(outcome, str) else "",
                verdict,
                wait_ms,
                MOST_ATTEMPTS_SHOWN,
            )
        )

    def send_again(self, tenant: str, job_id: str) -> bool:
        """Have a job's end told at once, also where it was told; False where there is no such job.

        Raises Conflict where there is nothing to tell, or the receiver said that it is gone.
        """
        verdict = self._run("tell_again", job_id, tenant).decode()
        if verdict == "no_webhook":
            raise Conflict("this job was submitted without a webhook", code="webhook_missing")
        if verdict == "open":
            raise Conflict("the job has not ended: there is nothing to tell", code="job_not_ended")
        if verdict == "disabled":
            raise Conflict(
                "the receiver answered 410 Gone; enable its URL first", code="webhook_disabled"
            )
        return bool(verdict == "ok")

    def enable(self, tenant: str, url: str) -> bool:
        """Send webhooks to a URL again that answered 410; False where it did not."""
        digest = hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()
        return bool(self._run("enable", tenant, digest))
