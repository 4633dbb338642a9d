"""Reading a job: polling, waiting, conditional requests, and canceling."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from api.jobs import long_polling
from jobs.job import Claim
from jobs.ledger import Ledger
from tests.eventually import PATIENCE_S, eventually
from tests.ledgers import ANSWER, MODEL, claimed
from tests.unit.api.conftest import Caller, body


@pytest.fixture
def beside() -> Iterator[Callable[[Callable[[], Any]], Future[Any]]]:
    """Runs something in another thread, which has ended when the test has."""
    with ThreadPoolExecutor() as pool:
        yield pool.submit


def test_retry_after_is_sent_until_a_job_has_ended(api: Caller, books: Ledger) -> None:
    job_id = api.submit()
    assert int(api("GET", f"/v1/jobs/{job_id}").headers["Retry-After"]) > 0
    claim = claimed(books)
    assert int(api("GET", f"/v1/jobs/{job_id}").headers["Retry-After"]) > 0
    books.finish(claim, ANSWER)
    assert "Retry-After" not in api("GET", f"/v1/jobs/{job_id}").headers


def test_a_job_that_did_not_change_is_a_304(api: Caller, books: Ledger) -> None:
    job_id = api.submit()
    first = api("GET", f"/v1/jobs/{job_id}")
    etag = first.headers["ETag"]

    same = api("GET", f"/v1/jobs/{job_id}", headers={"If-None-Match": etag})
    assert (same.status_code, same.data, same.headers["ETag"]) == (304, b"", etag)
    assert same.headers["Retry-After"] == first.headers["Retry-After"]

    books.finish(claimed(books), ANSWER)
    changed = api("GET", f"/v1/jobs/{job_id}", headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != etag


def test_a_jobs_answer_is_not_for_shared_caches(api: Caller) -> None:
    cache = api("GET", f"/v1/jobs/{api.submit()}").headers["Cache-Control"]
    assert "private" in cache or "no-store" in cache


def finish_next(books: Ledger) -> Claim:
    """Finish the next job as soon as there is one."""
    claim = eventually(lambda: books.claim(MODEL, "w1"), "a job to claim")
    assert books.finish(claim, ANSWER)
    return claim


def test_a_post_that_waits_returns_the_finished_job(
    api: Caller, books: Ledger, beside: Any
) -> None:
    worker = beside(lambda: finish_next(books))
    response = api.create(headers={"Prefer": "wait=30"})
    assert response.status_code == 200
    assert response.json
    assert response.json["id"] == worker.result().job.id
    assert response.json["answer"]["text"] == "E42"
    assert "Retry-After" not in response.headers
    assert response.headers["Location"].endswith(response.json["id"])


def test_a_post_whose_wait_is_over_returns_the_accepted_job(api: Caller) -> None:
    response = api.create(headers={"Prefer": "respond-async, wait=1"})
    assert response.status_code == 202
    assert response.json
    assert response.json["status"] == "queued"
    assert int(response.headers["Retry-After"]) > 0


def test_a_get_that_waits_returns_the_finished_job(api: Caller, books: Ledger, beside: Any) -> None:
    job_id = api.submit()
    call: Future[TestResponse] = beside(
        lambda: api("GET", f"/v1/jobs/{job_id}", headers={"Prefer": "wait=30"})
    )
    finish_next(books)
    job = call.result(timeout=PATIENCE_S).json
    assert job
    assert job["status"] == "succeeded"


def test_many_callers_may_wait_for_one_job(api: Caller, books: Ledger, beside: Any) -> None:
    job_id = api.submit()
    together = threading.Barrier(5)

    def wait() -> TestResponse:
        together.wait(timeout=PATIENCE_S)
        return api("GET", f"/v1/jobs/{job_id}", headers={"Prefer": "wait=30"})

    calls = [beside(wait) for _ in range(4)]
    together.wait(timeout=PATIENCE_S)
    finish_next(books)
    assert {future.result(timeout=PATIENCE_S).json["status"] for future in calls} == {"succeeded"}


def test_where_too_many_calls_are_held_open_the_next_is_answered_at_once(
    app: Flask, api: Caller
) -> None:
    parts = app.extensions["services"]
    job_id = api.submit()
    held = [parts.connections.hold("acme") for _ in range(parts.settings.tenant_connections)]
    for method, path, options in (
        ("GET", f"/v1/jobs/{job_id}", {}),
        ("GET", "/v1/events", {"query_string": {"after": newest(api)}}),
        ("POST", "/v1/jobs", {"json": body()}),
    ):
        response = api(method, path, headers={"Prefer": "wait=30"}, **options)
        assert response.status_code in (200, 202)
        assert "Preference-Applied" not in response.headers
        assert int(response.headers["Retry-After"]) > 0
    for let_go in held:
        let_go()


def newest(api: Caller) -> str:
    told = api("GET", "/v1/events").json
    assert told is not None
    return str(told["next"])


def test_a_wait_for_a_job_that_has_ended_is_none(api: Caller, books: Ledger) -> None:
    job_id = api.submit()
    finish_next(books)
    job = api("GET", f"/v1/jobs/{job_id}", headers={"Prefer": "wait=60"}).json
    assert job
    assert job["status"] == "succeeded"


@pytest.mark.parametrize(
    "prefer", ["", "wait", "wait=", "wait=-5", "wait=x", "wait=0", "return=minimal", "wait=１"]
)
def test_a_preference_that_asks_for_no_wait_gets_none(api: Caller, prefer: str) -> None:
    job_id = api.submit()
    job = api("GET", f"/v1/jobs/{job_id}", headers={"Prefer": prefer}).json
    assert job
    assert job["status"] == "queued"


def test_a_wait_for_another_tenants_job_is_a_404_at_once(api: Caller, stranger: Caller) -> None:
    job_id = api.submit()
    response = stranger("GET", f"/v1/jobs/{job_id}", headers={"Prefer": "wait=60"})
    assert response.status_code == 404


def test_canceling_a_queued_job_ends_it_at_once(api: Caller) -> None:
    job_id = api.submit()
    job = api("POST", f"/v1/jobs/{job_id}/cancel").json
    assert job
    assert (job["status"], job["status_reason"]) == ("canceled", "canceled")
    assert job["cancel_requested_at"] == job["compute_stopped_at"]
    assert job["cancel_requested_at"]
    assert api.job(job_id) == job


def test_canceling_a_running_job_leaves_the_end_to_its_worker(api: Caller, books: Ledger) -> None:
    job_id = api.submit()
    claimed(books)
    job = api("POST", f"/v1/jobs/{job_id}/cancel").json
    assert job
    assert job["status"] == "processing"
    assert job["cancel_requested_at"]
    assert job["compute_stopped_at"] is None


def test_canceling_a_finished_job_changes_nothing(api: Caller, books: Ledger) -> None:
    job_id = api.submit()
    finish_next(books)
    before = api.job(job_id)
    response = api("POST", f"/v1/jobs/{job_id}/cancel")
    assert response.status_code in (200, 409)
    assert api.job(job_id) == before


def test_a_waiting_caller_hears_of_a_cancellation(api: Caller, beside: Any) -> None:
    job_id = api.submit()
    long_polling = beside(lambda: api("GET", f"/v1/jobs/{job_id}", headers={"Prefer": "wait=30"}))
    api("POST", f"/v1/jobs/{job_id}/cancel")
    assert long_polling.result(timeout=PATIENCE_S).json["status"] == "canceled"


@pytest.fixture
def held(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many calls are held open; those that are look soon whether anybody is there."""
    monkeypatch.setattr(long_polling, "RECHECK_S", 0.02)
    return lambda: len(app.extensions["services"].connections)


def test_a_call_is_held_open_for_nobody_who_hung_up(
    api: Caller, beside: Any, held: Callable[[], int]
) -> None:
    job_id = api.submit()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        call = beside(
            lambda: api(
                "GET",
                f"/v1/jobs/{job_id}",
                headers={"Prefer": "wait=60"},
                environ_overrides={"gunicorn.socket": ours},
            )
        )
        eventually(lambda: held() == 1, "the call is held open")
        assert not call.done()
        theirs.close()
        eventually(call.done, "the call is let go", 20)
    assert held() == 0


def test_a_process_that_is_told_to_end_answers_the_calls_that_it_holds(
    app: Flask, api: Caller, beside: Any, held: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    leaving = threading.Event()
    monkeypatch.setitem(app.extensions, "is_leaving", leaving.is_set)
    after = newest(api)
    call = beside(lambda: api("GET", f"/v1/events?after={after}", headers={"Prefer": "wait=60"}))
    eventually(lambda: held() == 1, "the call is held open")
    leaving.set()
    eventually(call.done, "the call is answered", 20)
    assert int(call.result().headers["Retry-After"]) > 0
