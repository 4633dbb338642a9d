"""An installation in the middle of its day, for the pages of operations."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import httpx

from jobs.deliveries import Deliveries, Verdict
from jobs.job import Outcome, Priority, Reason, Status
from jobs.keys import Keys, Scope
from jobs.ledger import Ledger, Limits
from jobs.store import connect, server_time
from jobs.tenants import TenantLimits, Tenants
from llava_jobs.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.installations import GUNICORN, Running, environment, free_port
from tests.ledgers import ANSWER, FAILURE, MODEL, draft, webhook

LEASE_MS = 3_600_000
"""Of workers that only the ledger knows: they outlive the tests without a heartbeat."""
TENANTS = ("acme", "globex", "initech", "umbrella")
FAILURES = (
    Outcome(Status.FAILED, Reason.ERROR, error=FAILURE),
    Outcome(Status.FAILED, Reason.ERROR, error={"code": "prompt_too_long", "message": "too long"}),
    Outcome(Status.FAILED, Reason.REFUSED),
)
GB = 1_000_000_000


class Busy:
    """A store with such a day in it, the API over it, and an operator's key."""

    def __init__(self, store: EmbeddedStore, client: Any) -> None:
        self.client = client
        self.operator = Keys(client).create("operators", scopes=[Scope.ADMIN])
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        settings = environment(
            redis_url=store.url, lease_ms=str(LEASE_MS), renew_ms=str(LEASE_MS // 3)
        )
        command = [*GUNICORN, "-b", f"127.0.0.1:{self.port}", "api:create_app()"]
        self.process = Running(command, settings)

    @property
    def ledger(self) -> Ledger:
        """The ledger by the store's clock."""
        return Ledger(self.client, Limits(lease=LEASE_MS))

    def fill(self, seed: int = 7) -> None:
        """Let the hour before have happened, and jobs wait and run."""
        self._past(Random(seed))
        workers = (("gpu-1-4711-a1b2c3", 32, 0.62), ("gpu-2-4711-d4e5f6", 32, 0.58))
        for name, slots, hits in workers:
            facts = {"host": name[:5], "slots": slots, "prefix_hit_rate": hits}
            memory = {"gpu_memory_bytes": 61 * GB, "gpu_memory_limit_bytes": 80 * GB}
            self.ledger.renew(name, MODEL, facts | memory, {})
        for number in range(180):
            priority = list(Priority)[number % 7 % 3]
            tenant = TENANTS[min(number % 9 // 2, 3)]
            self.ledger.submit(draft(tenant, priority=priority))
        for number in range(50):
            self.ledger.claim(MODEL, workers[number % 2][0])
        Tenants(self.client).set_limits("initech", TenantLimits(500, 600, 7 * 86_400))
        for tenant in TENANTS:
            Keys(self.client).create(tenant)

    def _past(self, rng: Random) -> None:
        end = server_time(self.client)
        now = [end - 59 * 60_000]
        ledger = Ledger(self.client, Limits(lease=LEASE_MS), clock=lambda: now[0])
        deliveries = Deliveries(self.client, clock=lambda: now[0])
        number = 0
        while now[0] < end - 4_000:
            minute = (end - now[0]) / 60_000
            number += 1
            told = webhook("https://hooks.acme.example/jobs") if number % 12 == 0 else None
            job, _ = ledger.submit(draft(rng.choice(TENANTS), webhook=told))
            busy = 1 + math.sin(minute / 9) ** 2
            waited, took = rng.expovariate(1 / 900) * busy**3, 1200 + rng.expovariate(1 / 700)
            now[0] += int(waited)
            claim = ledger.claim(MODEL, "gpu-1-4711-a1b2c3")
            assert claim is not None
            now[0] += int(took)
            if number % 61 == 0:
                ledger.cancel(job.tenant, job.id)
            failed = number % 29 == 0
            ledger.finish(claim, FAILURES[number // 29 % 3] if failed else ANSWER)
            now[0] -= int(waited + took) - int(rng.expovariate(busy / 4500) + 40)
            for delivery in deliveries.claim(9, 1000):
                refused = number % 5 == 0
                verdict = Verdict.RETRY if refused else Verdict.DELIVERED
                deliveries.note(delivery, 503 if refused else 200, verdict, 7_200_000)


@contextmanager
def busy(folder: Path) -> Iterator[Busy]:
    """Such an installation, its day not begun."""
    with EmbeddedStore(folder) as store:
        client = connect(store.url)
        made = Busy(store, client)
        try:
            eventually(lambda: _answers(made.url), "the API answers")
            yield made
        finally:
            made.process.end()
            client.close()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=5).is_success
    except httpx.HTTPError:
        return False
