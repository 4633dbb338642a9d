"""When a queued job will be answered, as far as that can be told from what was done."""

from __future__ import annotations

import heapq
from random import Random
from typing import Any

import pytest

from jobs.errors import DeadlineUnmeetable
from jobs.job import Outcome, Priority, Reason, Status
from jobs.ledger import Ledger
from jobs.pace import KEPT_S, Pace, Paces
from jobs.scripts import PREFIX
from tests.ledgers import ANSWER, FAILURE, MODEL, Clock, claimed, draft, now, submitted, the_same

FACTS = {"slots": 4, "running": 1, "waiting": 0}


def answered(ledger: Ledger, clock: Clock, milliseconds: int) -> None:
    """Have a job answered in so many milliseconds."""
    submitted(ledger)
    claim = claimed(ledger)
    clock.forward(milliseconds)
    assert ledger.finish(claim, ANSWER)


def test_a_model_without_workers_or_answers_has_no_pace(
    client: Any, ledger: Ledger, clock: Clock
) -> None:
    assert Paces(client, ledger).of(MODEL) is None
    ledger.renew("w1", MODEL, FACTS, {})
    assert Paces(client, ledger).of(MODEL) is None
    ledger.leave("w1", MODEL)
    answered(ledger, clock, 100)
    assert Paces(client, ledger).of(MODEL) is None


def test_a_pace_is_what_the_live_workers_of_the_model_did(
    client: Any, ledger: Ledger, clock: Clock
) -> None:
    for milliseconds in (300, 100, 200):
        answered(ledger, clock, milliseconds)
    ledger.renew("w1", MODEL, FACTS, {})
    ledger.renew("w2", MODEL, {**FACTS, "running": 4, "waiting": 3}, {})
    ledger.renew("w3", MODEL, {**FACTS, "drained": True}, {})
    for _ in range(3):
        submitted(ledger)
    seen = Paces(client, ledger).of(MODEL)
    assert seen is not None
    assert (seen.durations, seen.slots, seen.free) == ((100, 200, 300), 8, 0)
    assert seen.queued["normal"] == 3
    assert Paces(client, ledger).of("another") is None


def test_only_answers_count_and_of_these_the_last_hundred(
    client: Any, ledger: Ledger, clock: Clock
) -> None:
    ledger.renew("w1", MODEL, FACTS, {})
    submitted(ledger)
    failed = Outcome(Status.FAILED, Reason.ERROR, error=FAILURE)
    ledger.finish(claimed(ledger), failed)
    for milliseconds in range(150):
        answered(ledger, clock, milliseconds)
    pace = Paces(client, ledger).of(MODEL)
    assert pace is not None
    assert pace.durations == tuple(range(50, 150))


def test_a_pace_is_looked_up_once_in_a_while(client: Any, ledger: Ledger, clock: Clock) -> None:
    now = [0.0]
    paces = Paces(client, ledger, lambda: now[0])
    ledger.renew("w1", MODEL, FACTS, {})
    answered(ledger, clock, 100)
    first = paces.of(MODEL)
    answered(ledger, clock, 900)
    assert paces.of(MODEL) is first
    now[0] = KEPT_S
    assert paces.of(MODEL) != first


def test_who_finds_a_free_slot_starts_at_once() -> None:
    forecast = Pace((100, 100, 200), slots=8, free=2).forecast(2)
    assert (forecast.start, forecast.finish_p50, forecast.finish_p90) == (0, 100, 200)


def test_classes_with_more_weight_go_before_as_far_as_any_wait() -> None:
    pace = Pace((100,), slots=1, free=0, queued={"high": 40, "normal": 1, "low": 9})
    starts = [pace.forecast(2, priority).start for priority in Priority]
    assert starts == [(2 + 1 + 1) * 100, (2 + 6 + 1) * 100, (2 + 16 + 1) * 100]


def test_later_places_start_later_and_less_certainly() -> None:
    pace = Pace((100, 200, 300), slots=4, free=0)
    near, far = pace.forecast(4), pace.forecast(400)
    assert far.start == pytest.approx(100 * near.start)
    assert far.finish_p50 > near.finish_p50
    assert far.finish_p90 - far.finish_p50 > near.finish_p90 - near.finish_p50


@pytest.mark.parametrize("position", [1, 20, 300])
def test_half_of_jobs_end_by_p50_and_nine_tenths_by_p90(position: int, seed: int) -> None:
    random = Random(seed)
    slots = 8
    drawn = [round(random.lognormvariate(6, 0.7)) for _ in range(5000)]
    pace = Pace(tuple(sorted(drawn)), slots, free=0)
    forecast = pace.forecast(position)
    ends = [_end(position, slots, drawn, random) for _ in range(400)]
    assert 0.35 < sum(end <= forecast.finish_p50 for end in ends) / len(ends) < 0.75
    assert sum(end <= forecast.finish_p90 for end in ends) / len(ends) > 0.84


def _end(position: int, slots: int, drawn: list[int], random: Random) -> float:
    """When the job at that place ends, all slots busy and each as far as chance has it."""
    left = [random.choice(drawn) * random.random() for _ in range(slots)]
    heapq.heapify(left)
    for _ in range(position):
        now = heapq.heappop(left)
        heapq.heappush(left, now + random.choice(drawn))
        ended = now
    return ended + random.choice(drawn)


def test_a_job_that_would_end_after_its_deadline_is_not_accepted(
    client: Any, ledger: Ledger
) -> None:
    with pytest.raises(DeadlineUnmeetable, match=r"4\.2 s"):
        ledger.submit(draft(deadline_ms=4_000), soonest_ms=4_200)
    assert [*client.scan_iter(f"{PREFIX}job:*")] == []
    ledger.submit(draft(deadline_ms=4_200), soonest_ms=4_200)
    ledger.submit(draft(), soonest_ms=10**9)


def test_an_answer_that_is_there_or_on_its_way_comes_in_time(ledger: Ledger) -> None:
    first, _ = ledger.submit(the_same())
    follower, _ = ledger.submit(the_same(deadline_ms=1_000), soonest_ms=5_000)
    assert follower.deduplicated_from == first.id


def test_a_job_that_would_be_next_is_told_so_before_it_is_submitted(ledger: Ledger) -> None:
    assert ledger.next_position(draft()) == 1
    for tenant in ("a", "a", "b"):
        submitted(ledger, tenant)
    for tenant in ("a", "b", "c"):
        one = draft(tenant)
        told = ledger.next_position(one)
        job, _ = ledger.submit(one)
        assert told == job.position == ledger.position(now(ledger, job))
