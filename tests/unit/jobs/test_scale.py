"""Many workers claim without double work, and no call does more because more is queued."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bench.queued import InBulk, canned_reply
from jobs.job import Claim, Job
from jobs.ledger import Ledger
from jobs.store import connect
from llava_jobs.embedded import EmbeddedStore
from tests.ledgers import ANSWER, MODEL, claimed, draft, records

WORKERS = SLOTS = 64
Operation = Callable[[Ledger, list[Job]], object]


def test_64_workers_of_64_slots_claim_every_job_once(store: EmbeddedStore, client: Any) -> None:
    jobs = {job.id for job in _queued(client, WORKERS * SLOTS)}
    started = threading.Barrier(WORKERS)
    given: Counter[str] = Counter()
    fences: Counter[int] = Counter()
    lock = threading.Lock()

    def work(name: str) -> None:
        with contextlib.closing(connect(store.url)) as own:
            ledger = Ledger(own, durability="memory")
            started.wait()
            held: list[Claim] = []
            while claim := ledger.claim(MODEL, name):
                held.append(claim)
                if len(held) == SLOTS:
                    assert ledger.finish(held.pop(0), ANSWER)
                with lock:
                    given[claim.job.id] += 1
                    fences[claim.fence] += 1
            for claim in held:
                assert ledger.finish(claim, ANSWER)

    with ThreadPoolExecutor(WORKERS) as workers:
        list(workers.map(work, [f"w{n}" for n in range(WORKERS)]))

    assert given == dict.fromkeys(jobs, 1)
    assert set(fences.values()) == {1}
    assert {record["status"] for record in records(client).values()} == {"succeeded"}


OPERATIONS: dict[str, Operation] = {
    "submit": lambda ledger, _: ledger.submit(draft("tenant-1")),
    "claim and finish": lambda ledger, _: ledger.finish(claimed(ledger), ANSWER),
    "position of the last": lambda ledger, jobs: ledger.position(jobs[-1]),
    "poll": lambda ledger, jobs: ledger.get(jobs[-1].tenant, jobs[-1].id),
    "cancel the last": lambda ledger, jobs: ledger.cancel(jobs[-1].tenant, jobs[-1].id),
    "renew": lambda ledger, _: ledger.renew("w1", MODEL, {}, {}),
    "sweep": lambda ledger, _: ledger.sweep(),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_call_costs_as_many_commands_with_ten_thousand_jobs_queued_as_with_a_hundred(
    client: Any, name: str
) -> None:
    few, many = (_commands(client, queued, OPERATIONS[name]) for queued in (100, 10_000))
    assert few == many


def _commands(client: Any, queued: int, operation: Operation) -> dict[str, int]:
    """How often the store ran each command for one call."""
    client.flushall()
    jobs = _queued(client, queued)
    ledger = Ledger(client, durability="memory")
    ledger.sweep()
    client.config_resetstat()
    operation(ledger, jobs)
    told = client.info("commandstats")
    return {name: counts["calls"] for name, counts in told.items() if "|" not in name}


def _queued(client: Any, count: int) -> list[Job]:
    """Have so many jobs of ten tenants queued."""
    first, _ = Ledger(client, durability="memory").submit(draft("tenant-0"))
    asked = [draft(f"tenant-{n % 10}") for n in range(1, count)]
    bulk: Any = InBulk(client, canned_reply())
    ledger = Ledger(bulk, durability="memory")
    for one in asked:
        ledger.submit(one)
    bulk.close()
    found = [Ledger(client).get(one.tenant, one.id) for one in asked]
    return [first, *(job for job in found if job)]
