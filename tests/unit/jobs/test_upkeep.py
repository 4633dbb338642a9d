"""What time does to jobs is repaired until nothing is left, and no bad record holds it up."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobs.deliveries import Deliveries, Verdict
from jobs.hints import Hints, celery_app
from jobs.ledger import Ledger, Limits
from jobs.scripts import PREFIX
from jobs.sweeper import SLICE, Sweeper
from llava_jobs.embedded import EmbeddedStore
from tests.conftest import NewLedger
from tests.ledgers import (
    ANSWER,
    FAILURE,
    Clock,
    claimed,
    draft,
    status_of,
    submitted,
    webhook,
)

LEASE = 30_000
HOUR = 3_600_000


@pytest.fixture
def hints(store: EmbeddedStore, client: Any) -> Iterator[Hints]:
    """Where the sweeper publishes."""
    with contextlib.closing(Hints(celery_app(store.url), client)) as hints:
        yield hints


def test_a_round_ends_when_nothing_is_left(
    new_ledger: NewLedger, hints: Hints, client: Any, clock: Clock
) -> None:
    ledger = new_ledger(retention=1_000)
    for _ in range(5 * SLICE):
        submitted(ledger)
        ledger.finish(claimed(ledger), ANSWER)
    clock.forward(1_000)
    assert not Sweeper(ledger, hints, interval_ms=60_000, spare_after_ms=0).sweep()
    assert not client.exists(f"{PREFIX}retained")


def test_a_round_that_has_no_time_left_says_that_there_is_more(
    ledger: Ledger, hints: Hints, clock: Clock
) -> None:
    for _ in range(20 * SLICE):
        submitted(ledger, deadline_ms=1)
    clock.forward(1)
    sweeper = Sweeper(ledger, hints, interval_ms=1, spare_after_ms=0)
    assert sweeper.sweep()
    while sweeper.sweep():
        pass
    assert ledger.sweep().ended == 0


def spoil_attempts(client: Any, ledger: Ledger) -> str:
    """A running job whose attempts cannot be read."""
    job_id = submitted(ledger)
    claimed(ledger)
    client.hset(f"{PREFIX}job:{job_id}", "attempts", "{")
    return job_id


def spoil_due(client: Any, ledger: Ledger) -> str:
    """A waiting job that has no class."""
    job_id = submitted(ledger, deadline_ms=1, model="another")
    client.hdel(f"{PREFIX}job:{job_id}", "class")
    return job_id


def spoil_delayed(client: Any, ledger: Ledger) -> str:
    """A job that is to be tried again and has no model."""
    job_id = submitted(ledger)
    ledger.retry(claimed(ledger), 1_000, FAILURE)
    client.hdel(f"{PREFIX}job:{job_id}", "model")
    return job_id


def spoil_retained(client: Any, ledger: Ledger) -> str:
    """An ended job that has no tenant."""
    job_id = submitted(ledger)
    ledger.finish(claimed(ledger), ANSWER)
    client.hdel(f"{PREFIX}job:{job_id}", "tenant")
    return job_id


@pytest.mark.parametrize("spoil", [spoil_attempts, spoil_due, spoil_delayed, spoil_retained])
def test_a_record_that_cannot_be_handled_is_told_and_holds_up_no_other(
    client: Any,
    new_ledger: NewLedger,
    clock: Clock,
    spoil: Callable[[Any, Ledger], str],
) -> None:
    ledger = new_ledger(retention=1_000)
    broken = spoil(client, ledger)
    running = submitted(ledger)
    claimed(ledger)
    late = submitted(ledger, deadline_ms=1)
    clock.forward(LEASE)

    swept = ledger.sweep()
    assert swept.broken == (broken,)
    assert status_of(ledger, late) == ("failed", "deadline")
    assert status_of(ledger, running) == ("queued", None)
    assert ledger.counters()["unswept"] == 1
    assert not ledger.sweep().broken, "it is not looked at again at once"
    clock.forward(60_000)
    assert ledger.sweep().broken == (broken,)


@pytest.mark.parametrize("name", ["leases", "due", "delayed", "untold", "retained"])
def test_an_id_without_a_record_goes(client: Any, ledger: Ledger, clock: Clock, name: str) -> None:
    client.zadd(f"{PREFIX}{name}", {"job_gone": clock.now})
    assert not ledger.sweep().broken
    assert not client.exists(f"{PREFIX}{name}")


def test_an_idempotency_key_lives_as_long_as_its_job(
    client: Any, new_ledger: NewLedger, clock: Clock
) -> None:
    ledger = new_ledger(retention=1_000)
    asked = draft(idempotency_key="k")
    job, _ = ledger.submit(asked)
    key = f"{PREFIX}idempotency:acme:k"
    assert client.pttl(key) > Limits().queue_lifetime
    ledger.finish(claimed(ledger), ANSWER)
    clock.forward(999)
    ledger.sweep()
    assert client.hget(key, "job").decode() == job.id
    clock.forward(1)
    ledger.sweep()
    assert not client.exists(key)


@pytest.mark.parametrize(
    ("retention", "kept"), [(60_000, HOUR), (HOUR, 3 * HOUR), (48 * HOUR, 72 * HOUR)]
)
def test_a_dead_receiver_is_tried_in_proportion_to_the_retention(
    client: Any, new_ledger: NewLedger, clock: Clock, retention: int, kept: int
) -> None:
    ledger, deliveries = new_ledger(retention=retention), Deliveries(client, clock)
    job_id = submitted(ledger, webhook=webhook())
    ledger.finish(claimed(ledger), ANSWER)
    start = clock.now
    while ledger.get("acme", job_id):
        for delivery in deliveries.claim(10, 60_000):
            deliveries.note(delivery, 500, Verdict.RETRY, HOUR // 4)
        clock.forward(60_000)
        ledger.sweep()
    assert kept <= clock.now - start <= kept + min(retention, HOUR) + 60_000
    assert not client.exists(f"{PREFIX}receivers")
