"""A ledger of the release before, in a process of its own: one call a line, one reply a line.

It runs in that release's folder, so what it imports is that release's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from jobs.deliveries import Deliveries
from jobs.job import Claim, Draft, Outcome, Priority, Status
from jobs.ledger import Ledger
from jobs.request import Conversation, Parameters
from jobs.store import connect
from jobs.webhook import Webhook


class Answering:
    """What can be called, each by its name; times in milliseconds, jobs by tenant and id."""

    def __init__(self, url: str) -> None:
        self.now = 0
        client = connect(url)
        self._ledger = Ledger(client, clock=lambda: self.now)
        self._deliveries = Deliveries(client, lambda: self.now)
        self._claims: dict[int, Claim] = {}

    def submit(self, fields: dict[str, Any]) -> str:
        conversation = Conversation.from_data(fields.pop("conversation"))
        parameters = Parameters.from_data(fields.pop("parameters"))
        priority = Priority(fields.pop("priority"))
        hook = fields.pop("webhook")
        job, _ = self._ledger.submit(
            Draft(
                conversation=conversation,
                parameters=parameters,
                priority=priority,
                webhook=Webhook.from_json(hook) if hook else None,
                **fields,
            )
        )
        return job.id

    def claim(self, model: str, worker: str) -> tuple[str, str, int] | None:
        claim = self._ledger.claim(model, worker)
        if claim is None:
            return None
        self._claims[claim.fence] = claim
        return claim.job.tenant, claim.job.id, claim.fence

    def hold(self, tenant: str, job_id: str, fence: int) -> None:
        job = self._ledger.get(tenant, job_id)
        assert job is not None
        self._claims[fence] = Claim(job, fence)

    def finish(self, fence: int, answer: dict[str, Any]) -> bool:
        return self._ledger.finish(self._claims[fence], Outcome(Status.SUCCEEDED, answer=answer))

    def hand_back(self, fence: int) -> bool:
        return self._ledger.hand_back(self._claims[fence])

    def retry(self, fence: int, error: dict[str, Any]) -> bool:
        return self._ledger.retry(self._claims[fence], 0, error)

    def renew(self, worker: str, model: str, facts: dict[str, Any], held: dict[str, int]) -> None:
        self._ledger.renew(worker, model, facts, held)

    def cancel(self, tenant: str, job_id: str) -> bool:
        return self._ledger.cancel(tenant, job_id) is not None

    def erase(self, tenant: str, job_id: str) -> bool:
        return self._ledger.erase(tenant, job_id)

    def sweep(self) -> None:
        self._ledger.sweep()

    def read(self, tenant: str, job_id: str) -> dict[str, Any] | None:
        job = self._ledger.get(tenant, job_id)
        if job is None:
            return None
        return {
            "conversation": job.conversation.to_data(),
            "parameters": job.parameters.to_data(),
            "status": job.status,
            "answer": job.answer,
            "trace": job.trace,
            "version": job.version,
        }

    def deliveries(self) -> list[str]:
        return [delivery.job.id for delivery in self._deliveries.claim(100, 1_000)]


def main() -> None:
    """Answer until there are no more lines."""
    answering = Answering(sys.argv[1])
    for line in sys.stdin:
        name, answering.now, arguments = json.loads(line)
        call: Callable[..., Any] = getattr(answering, name)
        print(json.dumps(call(*arguments)), flush=True)


if __name__ == "__main__":
    main()
