"""Many workers claim without double work, and no call does more because more is queued."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.queued import InBulk, canned_reply
from jobs.job import Claim, Draft, Job
from jobs.ledger import Ledger
from jobs.store import connect
from llava_jobs.embedded import EmbeddedStore
from tests.ledgers import ANSWER, MODEL, Clock, claimed, draft, records

WORKERS = SLOTS = 64


def test_64_workers_of_64_slots_claim_every_job_once(store: EmbeddedStore, client: Any) -> None:
    jobs = {one.id for one in _queued(client, WORKERS * SLOTS)}
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


def test_a_call_costs_as_many_commands_with_ten_thousand_jobs_queued_as_with_a_hundred(
    client: Any,
) -> None:
    assert _commands(client, 10_000) == _commands(client, 100)


def _commands(client: Any, queued: int) -> dict[str, dict[str, int]]:
    """How often the store runs each command for a call of each operation."""
    client.flushall()
    *_, last_but_one, last = _queued(client, queued)
    # By a clock that stands still: how long a job took decides which figure is its minute's first.
    ledger = Ledger(client, durability="memory", clock=Clock())
    jobs = [job for job in (ledger.get(one.tenant, one.id) for one in (last, last_but_one)) if job]
    operations: dict[str, Callable[[Job], object]] = {
        "submit": lambda _: ledger.submit(draft("tenant-1")),
        "claim and finish": lambda _: ledger.finish(claimed(ledger), ANSWER),
        "position of the last": ledger.position,
        "poll": lambda job: ledger.get(job.tenant, job.id),
        "renew": lambda _: ledger.renew("w1", MODEL, {}, {}),
        "sweep": lambda _: ledger.sweep(),
        "cancel the last": lambda job: ledger.cancel(job.tenant, job.id),
    }
    found: dict[str, dict[str, int]] = {}
    for name, operation in operations.items():
        operation(jobs[0])  # so that the server knows the script
        client.config_resetstat()
        operation(jobs[1])
        told = client.info("commandstats")
        found[name] = {name: counts["calls"] for name, counts in told.items() if "|" not in name}
    return found


def _queued(client: Any, count: int) -> list[Draft]:
    """Have so many jobs of ten tenants queued."""
    asked = [draft(f"tenant-{n % 10}") for n in range(count)]
    Ledger(client, durability="memory", clock=Clock()).submit(
        asked[0]
    )  # so that the server knows the script
    bulk: Any = InBulk(client, canned_reply())
    ledger = Ledger(bulk, durability="memory", clock=Clock())
    for one in asked[1:]:
        ledger.submit(one)
    bulk.close()
    return asked
