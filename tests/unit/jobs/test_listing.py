"""Lists of a tenant's jobs by status: from an index, and true whatever an older program did."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.job import Job, Outcome, Reason, Status
from jobs.ledger import Ledger, Limits
from jobs.listing import MOST_EXAMINED, Listing
from jobs.scripts import PREFIX
from tests.conftest import NewLedger
from tests.ledgers import ANSWER, FAILURE, Clock, asked, claimed, submitted

FAILED = Outcome(Status.FAILED, Reason.ERROR, error=FAILURE)


@pytest.fixture
def listing(client: Any) -> Listing:
    """The lists of the store's jobs."""
    return Listing(client)


def all_of(listing: Listing, status: Status, **filters: Any) -> list[str]:
    """The ids of all jobs in a state, over as many pages as there are."""
    found: list[Job] = []
    after = None
    while True:
        page = listing.page("acme", status=status, after=after, limit=20, **filters)
        assert page is not None
        found += page.jobs
        if page.after is None:
            return [job.id for job in found]
        after = page.after


def unlisted(client: Any) -> None:
    """Leave the store as a program of before has it, which keeps no index by status."""
    client.delete(*client.keys(f"{PREFIX}with-status:*"))


def commands(client: Any) -> int:
    """How many commands the store has run."""
    stats = client.info("commandstats")
    return sum(int(each["calls"]) for name, each in stats.items() if name != "cmdstat_info")


def test_a_list_by_status_costs_as_much_among_two_thousand_others_as_beside_one(
    client: Any, listing: Listing, ledger: Ledger
) -> None:
    wanted = submitted(ledger)
    ledger.finish(claimed(ledger), FAILED)

    def cost() -> int:
        assert all_of(listing, Status.FAILED) == [wanted]
        before = commands(client)
        assert all_of(listing, Status.FAILED) == [wanted]
        return commands(client) - before

    submitted(ledger)
    beside_one = cost()
    for _ in range(2_000):
        submitted(ledger)
    assert cost() == beside_one


def test_a_job_is_in_the_list_of_its_status_and_in_no_other(
    listing: Listing, new_ledger: NewLedger, clock: Clock
) -> None:
    ledger = new_ledger()

    def listed() -> dict[str, list[str]]:
        found = {status.value: all_of(listing, status) for status in Status}
        return {status: ids for status, ids in found.items() if ids}

    first = asked(ledger)
    follower = asked(ledger)
    assert listed() == {"queued": [follower.id, first.id]}
    claim = claimed(ledger)
    assert listed() == {"queued": [follower.id], "processing": [first.id]}
    ledger.hand_back(claim)
    assert listed() == {"queued": [follower.id, first.id]}
    ledger.crash(claimed(ledger), "engine_failed")
    assert listed() == {"queued": [follower.id, first.id]}
    ledger.finish(claimed(ledger), ANSWER)
    assert listed() == {"succeeded": [follower.id, first.id]}
    at_once = asked(ledger)
    assert listed() == {"succeeded": [at_once.id, follower.id, first.id]}
    canceled = submitted(ledger)
    ledger.cancel("acme", canceled)
    overdue = submitted(ledger, deadline_ms=1)
    clock.forward(1)
    ledger.sweep()
    assert listed()["canceled"] == [canceled]
    assert listed()["failed"] == [overdue]


@pytest.mark.parametrize("how", ["erased", "forgotten"])
def test_a_job_that_is_gone_is_in_no_list(
    client: Any, ledger: Ledger, clock: Clock, how: str
) -> None:
    waiting, done = submitted(ledger), submitted(ledger)
    ledger.finish(claimed(ledger), ANSWER)
    if how == "erased":
        ledger.erase("acme", waiting)
        ledger.erase("acme", done)
    else:
        for _ in range(2):  # one has to expire first
            clock.forward(Limits().retention)
            ledger.sweep()
    assert not client.keys(f"{PREFIX}with-status:*")


def test_jobs_of_a_program_that_kept_no_index_are_found_and_listed_from_then_on(
    client: Any, listing: Listing, ledger: Ledger
) -> None:
    jobs = [submitted(ledger) for _ in range(MOST_EXAMINED + 50)]
    ledger.finish(claimed(ledger), FAILED)
    unlisted(client)
    late = submitted(ledger)
    assert all_of(listing, Status.FAILED) == [jobs[0]]
    assert all_of(listing, Status.QUEUED) == [late, *jobs[:0:-1]]
    assert client.zcard(f"{PREFIX}with-status:acme:queued") == len(jobs)
    assert client.zcard(f"{PREFIX}with-status:acme:failed") == 1


def test_what_an_older_program_ends_or_forgets_is_listed_as_it_is(
    client: Any, listing: Listing, ledger: Ledger
) -> None:
    ended, forgotten, waiting = (submitted(ledger) for _ in range(3))
    client.hset(f"{PREFIX}job:{ended}", "status", "failed")
    client.delete(f"{PREFIX}job:{forgotten}")
    client.zrem(f"{PREFIX}jobs:acme", forgotten)
    assert all_of(listing, Status.FAILED) == [ended]
    assert all_of(listing, Status.QUEUED) == [waiting]
    assert client.zrange(f"{PREFIX}with-status:acme:queued", 0, -1) == [waiting.encode()]


def test_what_older_programs_left_in_an_index_goes_with_the_tenants_last_job(
    client: Any, ledger: Ledger
) -> None:
    left, last = submitted(ledger), submitted(ledger)
    client.delete(f"{PREFIX}job:{left}")
    client.zrem(f"{PREFIX}jobs:acme", left)
    ledger.erase("acme", last)
    assert not client.keys(f"{PREFIX}with-status:*")


def test_a_status_within_a_group_is_looked_for_a_bounded_number_of_jobs_at_a_time(
    listing: Listing, ledger: Ledger
) -> None:
    first = submitted(ledger, group="g")
    ledger.finish(claimed(ledger), FAILED)
    for _ in range(MOST_EXAMINED + 10):
        submitted(ledger, group="g")
    page = listing.page("acme", status=Status.FAILED, group="g")
    assert page is not None
    assert page.jobs == ()
    assert page.after is not None
    assert all_of(listing, Status.FAILED, group="g") == [first]


def test_lists_answer_where_the_store_has_no_memory_left(
    client: Any, listing: Listing, ledger: Ledger
) -> None:
    job_id = submitted(ledger)
    client.config_set("maxmemory", 1)
    try:
        assert all_of(listing, Status.QUEUED) == [job_id]
    finally:
        client.config_set("maxmemory", 0)
