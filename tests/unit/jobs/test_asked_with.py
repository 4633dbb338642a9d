"""A key finds again what it asked lately, for as long as that is there."""

from collections.abc import Callable
from typing import Any

import pytest

from jobs.job import Outcome, Reason, Status
from jobs.ledger import Ledger
from jobs.listing import Listing
from jobs.retrying import Retrying
from jobs.scripts import PREFIX
from tests.ledgers import ANSWER, FAILURE, Clock, claimed, draft, submitted

KEPT = 20
KEY = "abcdef012345"


@pytest.fixture
def latest(client: Any) -> Callable[..., list[str]]:
    """Returns the ids of the jobs that came with a key last."""
    listing = Listing(client)

    def of(key: str = KEY, tenant: str = "acme", limit: int = KEPT) -> list[str]:
        return [job.id for job in listing.asked_with(tenant, key, limit)]

    return of


def test_the_newest_come_first_and_those_of_other_keys_not_at_all(
    ledger: Ledger, latest: Callable[..., list[str]]
) -> None:
    mine = [submitted(ledger, key=KEY) for _ in range(3)]
    submitted(ledger)
    theirs = submitted(ledger, key="another12345")
    elsewhere = submitted(ledger, "other", key=KEY)
    assert latest() == mine[::-1]
    assert latest(limit=2) == mine[:0:-1]
    assert latest("another12345") == [theirs]
    assert latest(tenant="other") == [elsewhere], "a key's id that two tenants had in turn"


def test_a_job_that_is_submitted_twice_is_one(
    ledger: Ledger, latest: Callable[..., list[str]]
) -> None:
    asked = draft(key=KEY, idempotency_key="once")
    again = draft(key=KEY, idempotency_key="once", conversation=asked.conversation, fingerprint="")
    for each in (asked, asked, again):
        ledger.submit(each)
    assert latest() == [asked.id]


def test_what_is_kept_of_a_key_is_bounded(
    client: Any, ledger: Ledger, latest: Callable[..., list[str]]
) -> None:
    asked = [submitted(ledger, key=KEY) for _ in range(3 * KEPT)]
    assert latest() == asked[: -KEPT - 1 : -1]
    assert client.llen(f"{PREFIX}jobs:acme:{KEY}") <= 2 * KEPT


def test_erased_and_forgotten_jobs_are_gone_from_it(
    client: Any, ledger: Ledger, clock: Clock, latest: Callable[..., list[str]]
) -> None:
    answered, erased = (submitted(ledger, key=KEY) for _ in range(2))
    assert ledger.erase("acme", erased)
    assert latest() == [answered]
    ledger.finish(claimed(ledger), ANSWER)
    clock.forward(10**9)
    ledger.sweep()
    assert not client.keys(f"{PREFIX}jobs:*")


def test_what_is_asked_again_is_still_that_keys(
    client: Any, ledger: Ledger, latest: Callable[..., list[str]]
) -> None:
    failed = submitted(ledger, key=KEY)
    ledger.finish(claimed(ledger), Outcome(Status.FAILED, Reason.ERROR, error=FAILURE))
    found = Retrying(client, ledger).retry("acme", failed)
    assert found
    assert latest() == [found.id, failed]


def test_the_key_decides_no_answer(ledger: Ledger) -> None:
    one = draft(key=KEY)
    other = draft(key="another12345", conversation=one.conversation)
    assert one.work == other.work
    ledger.submit(one)
    assert ledger.submit(other)[0].deduplicated_from == one.id


def test_a_record_without_a_key_is_nobodys_and_goes_as_it_came(
    client: Any, ledger: Ledger, clock: Clock, latest: Callable[..., list[str]]
) -> None:
    job_id = submitted(ledger)
    client.hdel(f"{PREFIX}job:{job_id}", "key")
    assert latest("") == []
    assert ledger.erase("acme", job_id)
    assert not client.keys(f"{PREFIX}jobs:*")


def test_a_job_whose_record_is_gone_is_not_shown(
    client: Any, ledger: Ledger, latest: Callable[..., list[str]]
) -> None:
    gone, kept = (submitted(ledger, key=KEY) for _ in range(2))
    client.delete(f"{PREFIX}job:{gone}")
    assert latest() == [kept]
