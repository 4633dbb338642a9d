"""Hints are published, counted, disposable, and made up for by the sweeper."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from jobs.changes import ORDERS, Changes
from jobs.hints import AT_MOST, TASK, Hints, celery_app, queue_of
from jobs.ledger import Ledger
from jobs.scripts import PREFIX
from jobs.settings import Settings
from jobs.store import connect
from jobs.sweep import Sweep
from jobs.sweeper import sweeper
from llava_jobs.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.ledgers import FAILURE, MODEL, Clock, claimed, submitted, the_same


@pytest.fixture
def hints(store: EmbeddedStore, client: Any) -> Iterator[Hints]:
    """Hints over the store."""
    app = celery_app(store.url)
    yield Hints(app, client)
    app.close()


def drop_hints(client: Any) -> None:
    """Lose all hints, as a flushed broker does."""
    client.delete(f"{PREFIX}broker:{queue_of(MODEL)}")


def test_a_hint_waits_until_a_worker_takes_it(hints: Hints, client: Any) -> None:
    assert hints.waiting(MODEL) == 0
    assert hints.publish(MODEL)
    assert hints.publish(MODEL, 2)
    assert hints.waiting(MODEL) == 3
    assert hints.waiting("another") == 0


def test_a_hint_carries_no_job(hints: Hints, client: Any, ledger: Ledger) -> None:
    job_id = submitted(ledger)
    hints.publish(MODEL)
    [message] = client.lrange(f"{PREFIX}broker:{queue_of(MODEL)}", 0, -1)
    assert job_id.encode() not in message
    assert b"acme" not in message


def test_a_job_that_is_queued_comes_with_its_hint(hints: Hints, client: Any) -> None:
    ledger = Ledger(client, hints=hints)
    submitted(ledger)
    assert hints.waiting(MODEL) == 1
    asked = the_same(idempotency_key="k", fingerprint="f")
    for again in (asked, asked, the_same()):
        ledger.submit(again)  # the first is queued, replayed, and followed
    assert hints.waiting(MODEL) == 2


def test_a_broker_that_takes_no_hint_is_no_failure_of_the_job(hints: Hints, client: Any) -> None:
    client.set(f"{PREFIX}broker:{queue_of(MODEL)}", "no list")
    ledger = Ledger(client, hints=hints)
    submitted(ledger)
    assert claimed(ledger)
    assert hints.publish(MODEL) is False, "whoever publishes one by itself is told"


def test_with_its_job_come_never_more_hints_than_plenty(hints: Hints, client: Any) -> None:
    hints.publish(MODEL, AT_MOST)
    submitted(Ledger(client, hints=hints))
    assert hints.waiting(MODEL) == AT_MOST


def test_hints_are_what_celery_itself_writes_each_under_an_id_of_its_own(
    hints: Hints, store: EmbeddedStore, client: Any
) -> None:
    app = celery_app(store.url)
    theirs = app.send_task(TASK, queue=queue_of(MODEL), ignore_result=True).id
    app.close()
    hints.publish(MODEL, 2)

    written = client.lrange(f"{PREFIX}broker:{queue_of(MODEL)}", 0, -1)
    *ours, message = map(json.loads, written)
    ids = [hint["headers"]["id"] for hint in ours]
    assert len({theirs, *ids}) == 3
    assert [hint["properties"]["delivery_tag"] for hint in ours] == ids
    for hint in (*ours, message):
        del hint["properties"]["delivery_tag"], hint["properties"]["reply_to"]  # always new
    for hint, own in zip(ours, ids, strict=True):
        assert hint == json.loads(json.dumps(message).replace(theirs, own))


def test_a_hint_waits_for_no_disk(hints: Hints, client: Any) -> None:
    def written() -> int:
        return int(client.info("persistence")["aof_current_size"])

    before = written()
    hints.publish(MODEL)
    assert written() == before
    assert hints.waiting(MODEL) == 1


def test_there_are_never_more_hints_than_plenty(hints: Hints) -> None:
    hints.publish(MODEL, AT_MOST - 1)
    hints.publish(MODEL, 3)
    assert hints.waiting(MODEL) == AT_MOST


def test_as_many_hints_are_missing_as_more_jobs_wait(hints: Hints) -> None:
    hints.publish(MODEL, 2)
    assert hints.missing(MODEL, 5) == 3
    assert hints.missing(MODEL, 2) == 0
    assert hints.missing(MODEL, 0) == 0


def test_a_broker_that_refuses_is_no_failure_of_the_job() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{nobody.getsockname()[1]}/0"
        app = celery_app(url)
        client = connect(url)
        assert Hints(app, client).publish(MODEL) is False
        client.close()
        app.close()


def test_the_sweeper_publishes_the_hints_that_are_missing_and_no_more(
    hints: Hints, client: Any, ledger: Ledger
) -> None:
    for _ in range(3):
        submitted(ledger)
    hints.publish(MODEL, 3)
    drop_hints(client)
    sweeping = sweeper(ledger, hints, Settings())

    sweeping.sweep()
    assert hints.waiting(MODEL) == 3
    sweeping.sweep()
    assert hints.waiting(MODEL) == 3


def test_a_retry_gets_its_hint_when_its_delay_is_over(
    hints: Hints, client: Any, ledger: Ledger, clock: Clock
) -> None:
    submitted(ledger)
    ledger.retry(claimed(ledger), 1_000, FAILURE)
    sweeping = sweeper(ledger, hints, Settings())
    sweeping.sweep()
    assert hints.waiting(MODEL) == 0
    clock.forward(1_000)
    sweeping.sweep()
    assert hints.waiting(MODEL) == 1


def test_a_suspect_gets_a_hint_too(hints: Hints, client: Any, ledger: Ledger, clock: Clock) -> None:
    submitted(ledger)
    claimed(ledger, "dead")
    clock.forward(30_000)
    sweeper(ledger, hints, Settings()).sweep()
    assert hints.waiting(MODEL) == 1


def test_of_two_sweepers_the_second_takes_over_when_the_first_is_gone(
    hints: Hints, client: Any, ledger: Ledger
) -> None:
    submitted(ledger)
    first, second = (sweeper(ledger, hints, Settings(sweep_ms=50)) for _ in range(2))
    first.start()
    eventually(lambda: hints.waiting(MODEL) == 1, "the first sweeps")
    second.start()
    first.close()
    drop_hints(client)
    eventually(lambda: hints.waiting(MODEL) == 1, "the second sweeps")
    second.close()


def test_a_sweeper_outlives_a_store_that_is_away(hints: Hints, client: Any, ledger: Ledger) -> None:
    class Away(Ledger):
        """A ledger whose sweeps fail twice."""

        failures = 2

        def sweep(self, *arguments: Any, **named: Any) -> Sweep:
            if self.failures:
                self.failures -= 1
                raise OSError("away")
            return ledger.sweep(*arguments, **named)

    submitted(ledger)
    sweeping = sweeper(Away(client), hints, Settings(sweep_ms=20))
    sweeping.start()
    eventually(lambda: hints.waiting(MODEL) == 1, "it sweeps again")
    sweeping.close()


def test_every_change_of_a_job_is_heard(store: EmbeddedStore, client: Any, ledger: Ledger) -> None:
    listener = connect(store.url)
    heard: list[tuple[str, str]] = []
    changes = Changes(listener, lambda job_id, word, _: heard.append((job_id, word)))
    changes.start()
    # Counting subscribers would count those that other tests leave for a moment.
    eventually(lambda: client.publish(f"{PREFIX}changes", "probe queued") and heard, "it listens")
    client.publish(f"{PREFIX}changes", "last probe")
    eventually(lambda: ("last", "probe") in heard, "it has heard all probes")
    heard.clear()

    job_id = submitted(ledger)
    claimed(ledger)
    ledger.cancel("acme", job_id)
    eventually(lambda: len(heard) >= 3, "it hears")
    changes.close()
    listener.close()

    assert heard == [(job_id, "queued"), (job_id, "processing"), (job_id, "cancel")]


def test_a_worker_hears_what_it_is_to_do_and_nothing_else(
    store: EmbeddedStore, client: Any, ledger: Ledger
) -> None:
    listener = connect(store.url)
    heard: list[tuple[str, str]] = []
    orders = Changes(listener, lambda job_id, word, _: heard.append((job_id, word)), ORDERS)
    orders.start()
    eventually(lambda: client.publish(f"{PREFIX}orders", "probe cancel") and heard, "it listens")

    job_id = submitted(ledger)
    claimed(ledger)
    ledger.cancel("acme", job_id)
    eventually(lambda: (job_id, "cancel") in heard, "it hears")
    orders.close()
    listener.close()

    assert set(heard) == {("probe", "cancel"), (job_id, "cancel")}


def test_changes_are_heard_again_after_the_connection_was_cut(
    store: EmbeddedStore, client: Any, ledger: Ledger
) -> None:
    listener = connect(store.url)
    heard: list[str] = []
    changes = Changes(listener, lambda job_id, *_: heard.append(job_id))
    changes.start()
    eventually(lambda: client.publish(f"{PREFIX}changes", "probe queued") and heard, "it listens")
    heard.clear()

    client.client_kill_filter(_type="pubsub")
    eventually(lambda: submitted(ledger) and heard, "it hears again")
    changes.close()
    listener.close()
