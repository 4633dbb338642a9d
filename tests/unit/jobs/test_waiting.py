"""How long a job can wait: proved over every state of the classes' turns, held to by the ledger.

Within a class, tenants take turns and each tenant's jobs go by age. A tenant that joins stands
behind those that wait, so a job at place ``r`` of its tenant (from 1) is at most the ``r * T``-th
claim of its class from then on, where ``T`` is the most tenants that wait in it at a time. Before
each of these go at most ``PASSED_BY`` claims of other classes.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs import pace
from jobs.job import Priority
from jobs.ledger import Ledger
from tests.ledgers import claimed, submitted

WEIGHTS = {"high": 8, "normal": 3, "low": 1}
PASSED_BY = {"high": 2, "normal": 7, "low": 29}
"""The most claims in a row that go to other classes while one has work, whatever comes and goes."""

Credits = tuple[tuple[str, int], ...]
SAME_STORE = (HealthCheck.function_scoped_fixture,)


def turn(before: Credits, waiting: frozenset[str]) -> tuple[str, Credits]:
    """Say which class is served, and the credits afterwards: smooth weighted round robin."""
    grown = {name: had for name, had in before if name in waiting}
    for name in WEIGHTS:
        if name in waiting:
            grown[name] = grown.get(name, 0) + WEIGHTS[name]
    served = max((name for name in WEIGHTS if name in waiting), key=grown.__getitem__)
    grown[served] -= sum(WEIGHTS[name] for name in waiting)
    return served, tuple(sorted(grown.items()))


ALL_WAITING = [
    frozenset(name for name, here in zip(WEIGHTS, bits, strict=True) if here)
    for bits in product((False, True), repeat=3)
    if any(bits)
]


@cache
def every_state() -> dict[Credits, list[tuple[frozenset[str], str, Credits]]]:
    """Every state that claims can lead to, and where each choice of waiting classes leads."""
    reached: dict[Credits, list[tuple[frozenset[str], str, Credits]]] = {}
    ahead: list[Credits] = [()]
    while ahead:
        state = ahead.pop()
        if state in reached:
            continue
        reached[state] = [(waiting, *turn(state, waiting)) for waiting in ALL_WAITING]
        ahead += [after for _, _, after in reached[state]]
    return reached


def longest_wait(name: str) -> int:
    """The longest run of claims that pass a class by while it has work.

    Takes states away for as long as there is one from which the class is passed by to none that is
    left: those left over in the end would go round for ever.
    """
    passing = {
        state: {after for waiting, served, after in ways if name in waiting and served != name}
        for state, ways in every_state().items()
    }
    waits: dict[Credits, int] = {}
    while len(waits) < len(passing):
        settled = {
            state: 1 + max((waits[after] for after in afters), default=-1)
            for state, afters in passing.items()
            if state not in waits and afters <= waits.keys()
        }
        assert settled, f"{name} can be passed by for ever"
        waits |= settled
    return max(waits.values())


@pytest.mark.parametrize("name", list(WEIGHTS))
def test_no_class_is_passed_by_for_longer_than_told_whatever_comes_and_goes(name: str) -> None:
    assert longest_wait(name) == PASSED_BY[name]


@settings(max_examples=25, deadline=None, suppress_health_check=SAME_STORE)
@given(plan=st.lists(st.sampled_from(ALL_WAITING), min_size=20, max_size=60))
def test_the_ledger_serves_classes_as_that_proof_has_it(
    client: Any, ledger: Ledger, plan: list[frozenset[str]]
) -> None:
    client.flushall()
    state: Credits = ()
    here: dict[str, str] = {}
    for waiting in plan:
        for name in WEIGHTS:
            if name in waiting and name not in here:
                here[name] = submitted(ledger, priority=Priority(name))
            elif name not in waiting and name in here:
                ledger.cancel("acme", here.pop(name))
        served, state = turn(state, waiting)
        assert claimed(ledger).job.id == here.pop(served)


def test_no_job_waits_for_more_claims_than_its_place_allows(ledger: Ledger, seed: int) -> None:
    random = Random(seed)
    tenants = ["a", "b", "c", "d"]
    waited: dict[str, tuple[str, int]] = {}  # by job: its class, and claims it may yet see
    places: dict[tuple[str, str], list[str]] = {}
    for _ in range(600):
        if not waited or random.random() < 0.5:
            tenant, name = random.choice(tenants), random.choice(list(WEIGHTS))
            line = places.setdefault((tenant, name), [])
            job_id = submitted(ledger, tenant, priority=Priority(name))
            line.append(job_id)
            of_its_class = len(line) * len(tenants)
            waited[job_id] = (name, of_its_class * (PASSED_BY[name] + 1))
            continue
        job = claimed(ledger).job
        places[job.tenant, job.priority.value].remove(job.id)
        name, left = waited.pop(job.id)
        assert left > 0, f"a {name} job waited for longer than its place allows"
        waited = {other: (its, left - 1) for other, (its, left) in waited.items()}


def test_forecasts_share_claims_between_classes_as_that_proof_does() -> None:
    assert pace.WEIGHTS == WEIGHTS


def test_a_place_in_the_queue_is_told_within_that_bound(ledger: Ledger) -> None:
    for tenant in ("a", "b"):
        for _ in range(3):
            submitted(ledger, tenant)
    last = submitted(ledger, "c")
    job = ledger.get("c", last)
    assert job is not None
    told = ledger.position(job)
    for before in range(1, 8):
        if claimed(ledger).job.id == last:
            assert before <= told
            return
    raise AssertionError("the job was never claimed")
