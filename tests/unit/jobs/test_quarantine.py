"""A job that was part of a crash runs alone, on a worker that lets its other jobs run out first."""

from __future__ import annotations

import heapq
from collections import Counter
from itertools import count
from random import Random
from typing import Any

import pytest

from jobs.drain import Drain, Drains
from jobs.job import WAIT, Claim, Priority
from jobs.ledger import Ledger
from jobs.scripts import PREFIX
from tests.eventually import eventually
from tests.ledgers import (
    ANSWER,
    MODEL,
    Clock,
    assert_counts_are_true,
    claimed,
    status_of,
    submitted,
)

ALONE = f"{PREFIX}alone:{MODEL}"


def suspects(ledger: Ledger, number: int) -> list[str]:
    """The ids of jobs that were part of one crash and wait; what waits besides is in no hurry."""
    ids = [submitted(ledger, priority=Priority.HIGH) for _ in range(number)]
    claims = [claimed(ledger, "dead") for _ in ids]
    assert [claim.job.id for claim in claims] == ids
    for claim in claims:
        ledger.crash(claim, "engine_stalled")
    return ids


def suspect(ledger: Ledger) -> str:
    """The id of one."""
    return suspects(ledger, 1)[0]


def test_a_worker_that_is_to_run_a_suspect_waits_until_all_that_it_holds_has_ended(
    ledger: Ledger,
) -> None:
    submitted(ledger)
    running = claimed(ledger, "w1")
    job_id = suspect(ledger)
    submitted(ledger)
    assert ledger.ask(MODEL, "w1") == WAIT
    ledger.finish(running, ANSWER)
    alone = claimed(ledger, "w1")
    assert (alone.job.id, alone.alone) == (job_id, True)
    assert ledger.ask(MODEL, "w1") == WAIT, "nothing runs beside it"
    ledger.finish(alone, ANSWER)
    assert not claimed(ledger, "w1").alone


def test_no_other_worker_takes_its_place_in_the_moment_in_which_it_has_become_free(
    ledger: Ledger,
) -> None:
    submitted(ledger)
    running = claimed(ledger, "w1")
    job_id = suspect(ledger)
    sound = submitted(ledger)
    assert ledger.ask(MODEL, "w1") == WAIT
    ledger.finish(running, ANSWER)
    assert claimed(ledger, "w2").job.id == sound
    assert claimed(ledger, "w1").job.id == job_id


def test_a_worker_that_does_not_ask_again_loses_its_place_within_seconds(
    client: Any, ledger: Ledger
) -> None:
    submitted(ledger)
    running = claimed(ledger, "w1")
    job_id = suspect(ledger)
    assert ledger.ask(MODEL, "w1") == WAIT
    ledger.finish(running, ANSWER)
    ledger.renew("w1", MODEL, {}, {})
    assert client.pttl(ALONE) <= 5_000
    assert eventually(lambda: ledger.claim(MODEL, "w2"), "another takes it").job.id == job_id


def test_a_worker_that_waits_for_its_jobs_to_end_keeps_its_place_by_its_renewals(
    client: Any, ledger: Ledger
) -> None:
    submitted(ledger)
    running = claimed(ledger, "w1")
    suspect(ledger)
    assert ledger.ask(MODEL, "w1") == WAIT
    client.pexpire(ALONE, 10_000)
    ledger.renew("w1", MODEL, {}, {running.job.id: running.fence})
    assert client.pttl(ALONE) > 10_000


@pytest.mark.parametrize("how", ["leaves", "breaks down"])
def test_a_worker_that_ends_gives_its_place_up_at_once(ledger: Ledger, how: str) -> None:
    submitted(ledger)
    running = claimed(ledger, "w1")
    job_id = suspect(ledger)
    assert ledger.ask(MODEL, "w1") == WAIT
    if how == "leaves":
        ledger.hand_back(running)
        ledger.leave("w1", MODEL)
    else:
        ledger.crash(running, "engine_stalled")
    oldest = job_id if how == "leaves" else running.job.id
    assert claimed(ledger, "w2").job.id == oldest


def test_one_whose_suspect_was_canceled_meanwhile_goes_on_with_the_rest(ledger: Ledger) -> None:
    submitted(ledger)
    claimed(ledger, "w1")
    job_id = suspect(ledger)
    sound = submitted(ledger)
    assert ledger.ask(MODEL, "w1") == WAIT
    ledger.cancel("acme", job_id)
    assert claimed(ledger, "w1").job.id == sound


def test_a_drained_worker_gives_its_place_up_but_for_the_suspect_that_it_runs(
    client: Any, ledger: Ledger
) -> None:
    drains = Drains(client, ledger.scripts)
    ledger.renew("w1", MODEL, {}, {})
    first, second = suspects(ledger, 2)
    running = claimed(ledger, "w1")
    assert running.job.id == first
    drains.drain("w1", Drain.FINISH)
    assert ledger.claim(MODEL, "w2") is None, "one suspect at a time"
    drains.resume("w1")
    sound = submitted(ledger)
    assert ledger.ask(MODEL, "w1") == WAIT, "nothing runs beside it"
    drains.drain("w1", Drain.FINISH)
    ledger.finish(running, ANSWER)
    assert claimed(ledger, "w2").job.id == second
    drains.resume("w1")
    assert claimed(ledger, "w1").job.id == sound


def test_nothing_runs_beside_a_suspect_whose_worker_lost_its_place_in_an_outage(
    client: Any, ledger: Ledger
) -> None:
    suspect(ledger)
    claimed(ledger, "w1")
    submitted(ledger)
    client.delete(ALONE)
    assert ledger.ask(MODEL, "w1") == WAIT


class Fleet:
    """Workers whose free slots ask a little later, so that others may ask before them.

    How long a job takes is drawn, as is how long a slot takes to ask.
    """

    def __init__(self, client: Any, workers: int, slots: int, random: Random) -> None:
        self.ledger = Ledger(client, durability="memory", clock=Clock())
        self.told_to_wait: list[str] = []
        self._random = random
        self._numbers = count()
        self._events: list[tuple[float, int, str, Claim | None]] = []
        """When each claimed job ends, and, without a claim, when a free slot asks."""
        self._held: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        for number in range(workers * slots):
            self._ask(f"w{number % workers}", 0)

    def run_until(self, job_id: str) -> tuple[str, Claim]:
        """Let jobs end, and slots ask, until a job is claimed: by whom, and beside what."""
        while True:
            time, _, worker, claim = heapq.heappop(self._events)
            if claim:
                assert self.ledger.finish(claim, ANSWER)
                self._held[worker] -= 1
                self._plan(time + self._random.expovariate(20), worker, None)
            elif self._waiting[worker] and self._held[worker]:
                self._waiting[worker] += 1  # one asks for all, once the worker holds nothing
            else:
                given = self._ask(worker, time)
                if given and given.job.id == job_id:
                    return worker, given
                assert self._held[worker], "it holds nothing, and is not given its suspect"

    def go_on(self, worker: str, alone: Claim) -> None:
        """End a job that runs alone, and have all slots that waited ask again."""
        [end] = [event for event in self._events if event[3] is alone]
        self._events.remove(end)
        heapq.heapify(self._events)
        assert self.ledger.finish(alone, ANSWER)
        self._held[worker] = 0
        for _ in range(self._waiting.pop(worker, 0) + 1):
            assert self._ask(worker, end[0])

    def _ask(self, worker: str, time: float) -> Claim | None:
        """Have a free slot ask, with more jobs in the queue than it can take."""
        submitted(self.ledger)
        reply = self.ledger.ask(MODEL, worker)
        if reply == WAIT:
            self._waiting[worker] += 1
            self.told_to_wait.append(worker)
            return None
        assert reply is not None
        self._plan(time + self._random.expovariate(1), worker, reply)
        self._held[worker] += 1
        return reply

    def _plan(self, time: float, worker: str, ending: Claim | None) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), worker, ending))


@pytest.mark.parametrize("workers", [4, 32])
def test_one_worker_alone_lets_its_jobs_run_out_however_many_there_are(
    client: Any, seed: int, workers: int
) -> None:
    slots = 8
    fleet = Fleet(client, workers, slots, Random(seed))
    for _ in range(3):
        job_id = suspect(fleet.ledger)
        fleet.told_to_wait.clear()
        host, alone = fleet.run_until(job_id)
        assert len(set(fleet.told_to_wait)) <= 1, "one worker at a time lets its jobs run out"
        assert len(fleet.told_to_wait) <= 1, "and asks in vain but once"
        fleet.go_on(host, alone)
    assert_counts_are_true(client, fleet.ledger)


def test_a_count_that_is_too_high_is_mended_and_no_claim_fails(client: Any, ledger: Ledger) -> None:
    client.hset(f"{PREFIX}queued:{MODEL}", mapping={"high": 1, "suspect": 2})
    assert ledger.claim(MODEL, "w1") is None
    assert sum(ledger.queued(MODEL).values()) == 0
    job_id = submitted(ledger)
    client.hincrby(f"{PREFIX}queued:{MODEL}", "normal", 1)
    assert claimed(ledger).job.id == job_id
    assert ledger.claim(MODEL, "w1") is None
    assert_counts_are_true(client, ledger)
    assert ledger.counters()["mended_counts"] == 3


def test_a_count_that_is_too_low_keeps_no_job_from_being_claimed(
    client: Any, ledger: Ledger
) -> None:
    job_id = submitted(ledger)
    client.hset(f"{PREFIX}queued:{MODEL}", "normal", 0)
    assert claimed(ledger).job.id == job_id
    assert ledger.claim(MODEL, "w1") is None
    assert_counts_are_true(client, ledger)


def test_a_record_that_is_lost_holds_up_nobody(client: Any, ledger: Ledger) -> None:
    lost, there = submitted(ledger), submitted(ledger)
    lost_suspect = suspect(ledger)
    client.delete(f"{PREFIX}job:{lost}", f"{PREFIX}job:{lost_suspect}")
    assert claimed(ledger).job.id == there
    assert ledger.claim(MODEL, "w1") is None
    assert status_of(ledger, there) == ("processing", None)
    assert sum(ledger.queued(MODEL).values()) == 0
