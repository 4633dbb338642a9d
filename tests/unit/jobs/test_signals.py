"""What operators look at is true, tells what is wrong, and costs the same whatever waits."""

from typing import Any

import pytest

from jobs.deliveries import Deliveries, Verdict
from jobs.drain import Drains
from jobs.errors import StoreUnavailable
from jobs.hints import Hints, celery_app
from jobs.job import Outcome, Priority, Reason, Status
from jobs.ledger import Ledger, Limits
from jobs.signals import Ended, Reading, Signals
from jobs.store import connect
from jobs.sweeper import Sweeper
from llava_jobs.embedded import EmbeddedStore
from tests.conftest import NewLedger
from tests.crowds import crowd
from tests.installations import free_port
from tests.ledgers import (
    ANSWER,
    MODEL,
    Clock,
    asked,
    assert_counts_are_true,
    claimed,
    submitted,
    webhook,
)

LEASE = Limits().lease
FACTS = {"host": "gpu-1", "slots": 8, "running": 1, "waiting": 0}


@pytest.fixture
def signals(client: Any, clock: Clock) -> Signals:
    """The signals by the test's clock, read anew each time."""
    return Signals(client, LEASE, clock=clock, kept_s=0)


def test_an_empty_store_has_nothing_to_say(signals: Signals) -> None:
    reading = signals.read()
    assert (reading.models, reading.ended, reading.running) == ({}, {}, 0)
    assert (reading.expired_leases, reading.republished_hints) == (0, 0)
    assert (reading.webhooks, reading.webhook_overdue_s) == ({}, 0)


def test_queued_jobs_are_counted_by_class_and_the_oldest_has_its_age(
    ledger: Ledger, signals: Signals, clock: Clock
) -> None:
    submitted(ledger, "late", priority=Priority.LOW)
    clock.forward(4_000)
    submitted(ledger, "acme", priority=Priority.HIGH)
    submitted(ledger, "other", priority=Priority.HIGH)
    clock.forward(2_500)
    model = signals.read().models[MODEL]
    assert model.queued == {"high": 2, "low": 1}
    assert model.oldest_queued_age_s == 6.5


def test_a_job_that_comes_back_from_a_crash_is_as_old_as_it_is(
    ledger: Ledger, signals: Signals, clock: Clock
) -> None:
    submitted(ledger)
    claimed(ledger)
    clock.forward(LEASE)
    ledger.sweep()
    submitted(ledger)
    reading = signals.read()
    assert reading.models[MODEL].oldest_queued_age_s == LEASE / 1000
    assert reading.models[MODEL].queued["suspect"] == 1
    assert reading.expired_leases == 1


def test_without_queued_jobs_there_is_no_age(ledger: Ledger, signals: Signals) -> None:
    submitted(ledger)
    ledger.finish(claimed(ledger), ANSWER)
    assert signals.read().models[MODEL].oldest_queued_age_s is None


def test_a_worker_has_its_slots_its_jobs_and_the_age_of_its_last_word(
    ledger: Ledger, signals: Signals, clock: Clock
) -> None:
    told = {"gpu_memory_bytes": 5, "gpu_memory_limit_bytes": 9, "prefix_hit_rate": 0.5}
    ledger.renew("w1", MODEL, {**FACTS, **told}, {})
    ledger.renew("w2", MODEL, FACTS, {})
    submitted(ledger)
    claim = claimed(ledger, "w1")
    clock.forward(3_000)
    ledger.renew("w1", MODEL, {**FACTS, **told}, {claim.job.id: claim.fence})
    reading = signals.read()
    model = reading.models[MODEL]
    second, first = sorted(model.workers, key=lambda worker: -worker.heartbeat_age_s)
    assert (first.name, first.host, first.slots, first.slots_used) == ("w1", "gpu-1", 8, 1)
    assert (first.heartbeat_age_s, second.heartbeat_age_s) == (0, 3)
    assert (first.gpu_memory_bytes, first.gpu_memory_limit_bytes) == (5, 9)
    assert (first.prefix_hit_rate, second.prefix_hit_rate) == (0.5, None)
    assert (model.running, model.slots, reading.running) == (1, 16, 1)
    assert model.last_claim_age_s == 3


def test_a_drained_worker_is_not_ready_and_its_jobs_still_run(
    client: Any, ledger: Ledger, signals: Signals
) -> None:
    for name in ("w1", "w2"):
        ledger.renew(name, MODEL, FACTS, {})
    submitted(ledger)
    claimed(ledger, "w1")
    drains = Drains(client, ledger.scripts)
    drains.drain("w1")
    model = signals.read().models[MODEL]
    assert [worker.name for worker in model.ready] == ["w2"]
    assert (len(model.workers), model.slots, model.running) == (2, 8, 1)
    drains.resume("w1")
    assert len(signals.read().models[MODEL].ready) == 2


def test_each_end_is_counted_once_by_status_and_reason(
    new_ledger: NewLedger, signals: Signals, clock: Clock
) -> None:
    ledger = new_ledger(crashes=1)
    submitted(ledger)
    ledger.finish(claimed(ledger), ANSWER)
    ledger.cancel("acme", submitted(ledger))
    submitted(ledger)
    ledger.finish(claimed(ledger), Outcome(Status.FAILED, Reason.ERROR, error={}))
    submitted(ledger)
    claimed(ledger)
    clock.forward(LEASE)
    ledger.sweep()
    submitted(ledger, deadline_ms=10)
    clock.forward(10)
    ledger.sweep()
    ended = {(e.status, e.reason): count for e, count in signals.read().ended.items()}
    assert ended == {
        ("succeeded", ""): 1,
        ("canceled", "canceled"): 1,
        ("failed", "error"): 1,
        ("failed", "poison"): 1,
        ("failed", "deadline"): 1,
    }


def test_a_model_may_be_named_anything(ledger: Ledger, signals: Signals, clock: Clock) -> None:
    ledger.cancel("acme", submitted(ledger, model="a:b:c"))
    assert signals.read().ended == {Ended("a:b:c", "canceled", "canceled"): 1}


def test_answers_that_cost_nothing_are_counted_apart(ledger: Ledger, signals: Signals) -> None:
    asked(ledger)
    asked(ledger)
    ledger.finish(claimed(ledger), ANSWER)
    asked(ledger)
    reading = signals.read()
    assert (reading.coalesced, reading.answered_from_cache) == (1, 1)
    assert sum(reading.ended.values()) == 3


def test_hints_that_the_sweeper_makes_up_for_are_counted(
    store: EmbeddedStore, client: Any, ledger: Ledger, signals: Signals
) -> None:
    submitted(ledger)
    submitted(ledger)
    hints = Hints(celery_app(store.url), client)
    sweeper = Sweeper(ledger, hints, interval_ms=1000, spare_after_ms=0)
    sweeper.sweep()
    sweeper.sweep()
    hints.close()
    assert signals.read().republished_hints == 2


def test_webhooks_are_counted_by_what_became_of_them(
    client: Any, ledger: Ledger, signals: Signals, clock: Clock
) -> None:
    deliveries = Deliveries(client, clock)
    ledger.cancel("acme", submitted(ledger, webhook=webhook()))
    clock.forward(7_000)
    assert signals.read().webhook_overdue_s == 7, "there is no sender"
    [delivery] = deliveries.claim(1, 1000)
    deliveries.note(delivery, 500, Verdict.RETRY, 0)
    [delivery] = deliveries.claim(1, 1000)
    deliveries.note(delivery, 204, Verdict.DELIVERED, 0)
    reading = signals.read()
    assert reading.webhooks == {"retried": 1, "delivered": 1}
    assert reading.webhook_overdue_s == 0


def test_the_store_says_how_full_it_is_and_whether_it_writes(client: Any, signals: Signals) -> None:
    store = signals.read().store
    assert (store.name, store.durable) == ("Valkey", True)
    assert store.memory_bytes > 0
    assert store.memory_limit_bytes == int(client.config_get("maxmemory")["maxmemory"])


def test_a_reading_is_kept_for_a_moment(client: Any, ledger: Ledger) -> None:
    kept = Signals(client, LEASE, kept_s=3600)
    before = kept.read()
    submitted(ledger)
    assert kept.read() is before


def test_a_store_that_is_away_is_said_to_be() -> None:
    away = Signals(connect(f"redis://127.0.0.1:{free_port()}"), LEASE)
    with pytest.raises(StoreUnavailable):
        away.read()


def test_a_crowd_is_queued_as_if_each_of_it_had_been_submitted(client: Any) -> None:
    crowd(client, 100)
    ledger = Ledger(client)
    assert_counts_are_true(client, ledger)
    assert {claimed(ledger).job.tenant for _ in range(100)} == {f"tenant-{n}" for n in range(10)}
    assert ledger.claim(MODEL, "w1") is None


def test_a_reading_costs_as_much_with_twenty_thousand_jobs_queued_as_with_two_hundred(
    client: Any, signals: Signals
) -> None:
    assert _commands(client, signals, 20_000) == _commands(client, signals, 200)


def _commands(client: Any, signals: Signals, queued: int) -> dict[str, int]:
    client.flushall()
    crowd(client, queued)
    assert _queued(signals.read()) == queued
    client.config_resetstat()
    signals.read()
    told = client.info("commandstats")
    return {name: counts["calls"] for name, counts in told.items() if "|" not in name}


def _queued(reading: Reading) -> int:
    return sum(reading.models[MODEL].queued.values())
