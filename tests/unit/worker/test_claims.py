"""A worker that is to run a job alone keeps its hints meanwhile, and goes on with them at once."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from jobs.image_store import ImageStore
from jobs.job import Priority
from jobs.ledger import Ledger
from jobs.pieces import Pieces
from tests.eventually import PATIENCE_S, eventually
from tests.ledgers import MODEL, claimed, status_of, submitted
from worker import claims
from worker.engine import Result
from worker.engine.requests import Request, Timing
from worker.leases import Leases
from worker.narrator import Narrator
from worker.tasks import Desk

SLOTS = 4


class Running:
    """A request that is answered when the test says so."""

    def __init__(self) -> None:
        self.future: Future[Result] = Future()

    def cancel(self) -> None:
        """Do nothing."""

    def listen(self, on_text: Callable[[str], object]) -> None:
        """Say nothing."""

    def end(self) -> None:
        """Answer."""
        self.future.set_result(Result("E42", (), 1, 0, 1, "stop", Timing()))


class Gated:
    """An engine whose requests run until the test ends them."""

    def __init__(self) -> None:
        self.running: list[Running] = []

    def submit(self, request: Request) -> Running:
        """Begin."""
        del request
        self.running.append(Running())
        return self.running[-1]


class Worker:
    """A worker's threads over a ledger, each with as many hints as it has time for."""

    def __init__(self, client: Any, ledger: Ledger) -> None:
        self.engine = Gated()
        self.hints = 0
        self._leases = Leases(ledger, MODEL, "w1", 60_000, dict)
        parts = (ledger, ImageStore(client), self.engine, self._leases, Narrator(Pieces(client)))
        self.desk = Desk(*parts, MODEL, "w1", lambda: None)
        self._threads: list[threading.Thread] = []

    def hint(self, number: int = 1) -> None:
        """Give threads of the worker a hint each."""
        for _ in range(number):
            self._threads.append(threading.Thread(target=self.desk.answer_next))
            self._threads[-1].start()

    def begins(self, number: int) -> list[Running]:
        """Wait until so many requests have begun."""
        eventually(lambda: len(self.engine.running) == number, f"{number} requests")
        return self.engine.running

    @property
    def kept(self) -> int:
        """How many hints are not done with."""
        return sum(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        """End all that runs."""
        self.desk.claims.stop()
        for running in self.engine.running:
            if not running.future.done():
                running.end()
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


@pytest.fixture
def worker(client: Any, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """A worker that would not ask again by itself within a test."""
    monkeypatch.setattr(claims, "ASK_AGAIN_S", 3600.0)
    made = Worker(client, ledger)
    yield made
    made.close()


def suspects(ledger: Ledger, number: int) -> list[str]:
    """The ids of jobs that were part of one crash and wait."""
    ids = [submitted(ledger, priority=Priority.HIGH) for _ in range(number)]
    for crashed in [claimed(ledger, "dead") for _ in ids]:
        ledger.crash(crashed, "engine_stalled")
    return ids


def scripts(client: Any) -> int:
    """How many scripts the store has run."""
    return int(client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"])


def test_hints_are_kept_while_jobs_run_out_and_the_suspect_begins_as_the_last_one_ends(
    client: Any, ledger: Ledger, worker: Worker
) -> None:
    submitted(ledger)
    worker.hint()
    [busy] = worker.begins(1)
    [suspect] = suspects(ledger, 1)
    sound = submitted(ledger)
    client.config_resetstat()
    worker.hint()
    eventually(lambda: scripts(client) == 2, "it was told to wait, and asked once more to be sure")
    worker.hint(SLOTS - 2)
    assert (worker.kept, scripts(client)) == (SLOTS, 2), "kept, and nothing is asked for them"
    busy.end()
    _, alone = worker.begins(2)
    assert status_of(ledger, suspect) == ("processing", None)
    alone.end()
    worker.begins(3)
    assert status_of(ledger, sound) == ("processing", None)


def test_suspects_run_one_after_the_other_on_one_hint(ledger: Ledger, worker: Worker) -> None:
    ids = suspects(ledger, 3)
    worker.hint()
    for number, job_id in enumerate(ids, 1):
        running = worker.begins(number)
        assert status_of(ledger, job_id) == ("processing", None)
        running[-1].end()
    eventually(lambda: worker.kept == 0, "the hint is done with")
    assert {status_of(ledger, job_id) for job_id in ids} == {("succeeded", None)}


def test_a_worker_that_stops_lets_go_of_the_hints_that_it_kept(
    client: Any, ledger: Ledger, worker: Worker
) -> None:
    submitted(ledger)
    worker.hint()
    [busy] = worker.begins(1)
    [suspect] = suspects(ledger, 1)
    worker.hint(SLOTS - 1)
    eventually(lambda: client.get(f"lj:alone:{MODEL}") == b"w1", "it has been told to wait")
    worker.desk.claims.stop()
    eventually(lambda: worker.kept == 1, "all but the one that runs")
    busy.end()
    assert status_of(ledger, suspect) == ("queued", None)


def test_a_worker_that_waits_asks_again_by_itself_should_it_have_heard_of_no_reason(
    client: Any, ledger: Ledger, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "ASK_AGAIN_S", 0.01)
    submitted(ledger)
    unheard = claimed(ledger, "w1")
    [suspect] = suspects(ledger, 1)
    worker.hint()
    eventually(lambda: client.get(f"lj:alone:{MODEL}") == b"w1", "it has been told to wait")
    ledger.hand_back(unheard)  # as a renewal does with a claim whose reply was lost
    worker.begins(1)
    assert status_of(ledger, suspect) == ("processing", None)
