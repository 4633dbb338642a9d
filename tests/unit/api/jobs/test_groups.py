"""Finding jobs again by status, group, id and page; stopping and erasing a group."""

from typing import Any

import pytest

from jobs import groups
from jobs.ledger import Ledger
from tests.ledgers import ANSWER, claimed, submitted
from tests.unit.api.conftest import Caller, assert_problem


def ids(api: Caller, query: str = "") -> list[str]:
    """The ids of the jobs that a query lists."""
    return [job["id"] for job in page(api, query)["data"]]


def page(api: Caller, query: str = "") -> dict[str, Any]:
    """One page of a list of jobs."""
    response = api("GET", f"/v1/jobs{query}")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json  # type: ignore[assignment]
    return found


def test_jobs_are_listed_newest_first(api: Caller) -> None:
    jobs = [api.submit(cache=False) for _ in range(3)]
    assert page(api) == {"object": "list", "data": page(api)["data"], "next": None}
    assert ids(api) == jobs[::-1]


def test_another_tenants_jobs_are_not_listed(api: Caller, stranger: Caller) -> None:
    job_id = api.submit()
    assert ids(stranger) == []
    assert ids(stranger, f"?ids={job_id}") == []
    assert stranger("GET", "/v1/jobs", query_string={"after": job_id}).status_code == 422


@pytest.mark.parametrize("query", ["?limit=2", "?limit=2&group=t"])
def test_pages_lead_through_all_jobs_once(api: Caller, query: str) -> None:
    jobs = [api.submit(cache=False, group="t") for _ in range(5)]
    seen, after = [], ""
    while True:
        found = page(api, query + after)
        seen += [job["id"] for job in found["data"]]
        if found["next"] is None:
            break
        assert len(found["data"]) == 2
        after = f"&after={found['next']}"
    assert seen == jobs[::-1]


def test_a_list_can_be_had_by_status_and_by_group(api: Caller, books: Ledger) -> None:
    first, second = api.submit(cache=False, group="t 1/ä"), api.submit(cache=False)
    books.finish(claimed(books), ANSWER)
    assert ids(api, "?status=succeeded") == [first]
    assert ids(api, "?status=queued") == [second]
    assert ids(api, "?group=t%201/%C3%A4") == [first]
    assert ids(api, "?group=t%201/%C3%A4&status=queued") == []


def test_jobs_are_had_by_ids_in_the_order_asked(api: Caller) -> None:
    jobs = [api.submit(cache=False) for _ in range(3)]
    asked = [jobs[1], "job_" + "0" * 32, jobs[0], jobs[1]]
    assert ids(api, f"?ids={','.join(asked)}") == [jobs[1], jobs[0]]


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ("?status=done", "invalid_field", "status"),
        ("?limit=0", "invalid_field", "limit"),
        ("?limit=201", "invalid_field", "limit"),
        ("?limit=1&limit=2", "invalid_field", "limit"),
        ("?state=queued", "unknown_field", "state"),
        ("?after=job_0", "cursor_expired", "after"),
        ("?ids=job_1&status=queued", "conflicting_fields", None),
        ("?ids=" + ",".join(f"job_{n}" for n in range(101)), "too_many_ids", None),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(
    api: Caller, query: str, code: str, param: str | None
) -> None:
    response = api("GET", f"/v1/jobs{query}")
    assert response.status_code == 422
    assert response.json
    assert (response.json["error"]["code"], response.json["error"]["param"]) == (code, param)


def test_a_cursor_to_a_job_that_was_erased_is_told_as_such(api: Caller) -> None:
    job_id = api.submit()
    api("DELETE", f"/v1/jobs/{job_id}")
    response = api("GET", f"/v1/jobs?after={job_id}")
    assert response.json
    assert response.json["error"]["code"] == "cursor_expired"


def test_canceling_a_group_stops_what_has_not_ended_and_nothing_else(
    api: Caller, books: Ledger
) -> None:
    done = api.submit(cache=False, group="t")
    books.finish(claimed(books), ANSWER)
    running = api.submit(cache=False, group="t")
    claimed(books)
    queued, elsewhere = api.submit(cache=False, group="t"), api.submit(cache=False)
    response = api("POST", "/v1/groups/t/cancel")
    assert response.status_code == 200
    assert [job["id"] for job in response.json["data"]] == [queued, running, done]  # type: ignore[index]
    assert api.job(done)["status"] == "succeeded"
    assert api.job(queued)["status"] == "canceled"
    assert api.job(running)["cancel_requested_at"]
    assert api.job(elsewhere)["status"] == "queued"


def test_erasing_a_group_leaves_nothing_of_its_jobs(api: Caller) -> None:
    jobs = [api.submit(cache=False, group="t/1") for _ in range(2)]
    assert api("DELETE", "/v1/groups/t/1").status_code == 204
    assert [api("GET", f"/v1/jobs/{job_id}").status_code for job_id in jobs] == [404, 404]
    assert ids(api) == []


def grown(books: Ledger, jobs: int, group: str = "t") -> list[str]:
    """The jobs of a group with so many, newest first."""
    return [submitted(books, group=group) for _ in range(jobs)][::-1]


def test_a_group_of_many_is_stopped_in_calls_that_lead_to_one_another(
    api: Caller, books: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "MOST_AT_ONCE", 4)
    jobs = grown(books, 9)
    stopped, remaining, after = [], [], ""
    while True:
        told = api("POST", f"/v1/groups/t/cancel{after}").get_json()
        stopped += [(job["id"], job["status"]) for job in told["data"]]
        remaining.append(told["remaining"])
        if told["next"] is None:
            break
        after = f"?after={told['next']}"
    assert stopped == [(job, "canceled") for job in jobs]
    assert remaining == [5, 1, 0]


def test_a_group_of_many_is_erased_by_calling_again_until_nothing_is_left(
    api: Caller, books: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "MOST_AT_ONCE", 4)
    grown(books, 9)
    for remaining in (5, 1):
        response = api("DELETE", "/v1/groups/t")
        assert response.status_code == 202
        assert response.get_json() == {"object": "group", "erased": 4, "remaining": remaining}
    assert api("DELETE", "/v1/groups/t").status_code == 204
    assert_problem(api("DELETE", "/v1/groups/t"), 404, "group_not_found")
    assert ids(api) == []


def test_a_cursor_to_no_job_of_the_group_is_told_as_such(api: Caller, books: Ledger) -> None:
    grown(books, 1)
    [elsewhere] = grown(books, 1, "other")
    response = api("POST", f"/v1/groups/t/cancel?after={elsewhere}")
    assert_problem(response, 422, "cursor_expired")


@pytest.mark.parametrize(("method", "path"), [("POST", "t/cancel"), ("DELETE", "t")])
def test_another_tenants_group_is_not_found(
    api: Caller, stranger: Caller, method: str, path: str
) -> None:
    job_id = api.submit(group="t")
    response = stranger(method, f"/v1/groups/{path}")
    assert response.status_code == 404
    assert response.json
    assert response.json["error"]["code"] == "group_not_found"
    assert api.job(job_id)["status"] == "queued"


def test_a_job_that_supersedes_stops_what_its_group_asked_before(
    api: Caller, books: Ledger
) -> None:
    running = api.submit(cache=False, group="t")
    claim = claimed(books)
    queued = api.submit(cache=False, group="t")
    newest = api.submit(cache=False, group="t", supersede=True)
    assert (api.job(queued)["status"], api.job(queued)["status_reason"]) == (
        "canceled",
        "superseded",
    )
    assert api.job(newest)["status"] == "queued"
    books.hand_back(claim)
    assert api.job(running)["status_reason"] == "superseded"


def test_superseding_needs_a_group(api: Caller) -> None:
    response = api.create(supersede=True)
    assert response.status_code == 422
    assert response.json
    assert response.json["error"]["code"] == "missing_field"
