"""The event feed: every change of a tenant's jobs, once and in order."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from jobs.ledger import Ledger
from tests.eventually import PATIENCE_S
from tests.ledgers import ANSWER, claimed
from tests.unit.api.conftest import Caller


def feed(api: Caller, after: str = "", **headers: str) -> dict[str, Any]:
    """One poll of the feed."""
    response = api("GET", f"/v1/events{after and f'?after={after}'}", headers=headers)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json  # type: ignore[assignment]
    return found


def test_the_feed_tells_every_change_in_order_and_goes_on_behind_its_cursor(
    api: Caller, books: Ledger
) -> None:
    job_id = api.submit()
    first = feed(api)
    books.finish(claimed(books), ANSWER)
    second = feed(api, first["next"])
    told = [(event["job"], event["status"]) for event in first["data"] + second["data"]]
    assert told == [(job_id, "queued"), (job_id, "processing"), (job_id, "succeeded")]
    assert feed(api, second["next"])["data"] == []
    assert feed(api, second["next"])["next"] == second["next"]


def test_the_feed_is_the_tenants_own(api: Caller, stranger: Caller) -> None:
    api.submit()
    assert feed(stranger)["data"] == []


def test_a_poll_that_waits_returns_when_something_happens(api: Caller) -> None:
    after = feed(api)["next"]
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(feed, api, after, Prefer="wait=30")
        job_id = api.submit()
        assert [event["job"] for event in waiting.result(PATIENCE_S)["data"]] == [job_id]


def test_a_poll_returns_no_more_than_it_asks_for(api: Caller) -> None:
    jobs = [api.submit(cache=False) for _ in range(3)]
    told = api("GET", "/v1/events?limit=2").json
    assert told
    assert [event["job"] for event in told["data"]] == jobs[:2]
    assert [event["job"] for event in feed(api, told["next"])["data"]] == jobs[2:]


def test_an_erased_jobs_events_are_gone_and_the_gap_is_told(api: Caller) -> None:
    erased, kept = api.submit(cache=False), api.submit(cache=False)
    first = feed(api)["data"][0]["id"]
    assert not feed(api, first)["gap"]
    api("DELETE", f"/v1/jobs/{erased}")
    told = feed(api, first)
    assert told["gap"]
    assert [event["job"] for event in told["data"]] == [kept]


@pytest.mark.parametrize("query", ["after=now", "after=1-1-1", "limit=0", "limit=1001", "job=1"])
def test_a_query_that_makes_no_sense_is_refused(api: Caller, query: str) -> None:
    assert api("GET", f"/v1/events?{query}").status_code == 422
