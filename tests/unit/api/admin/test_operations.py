"""The operator's controls over HTTP: intake, workers, failed jobs, figures; and asking again."""

from dataclasses import replace
from typing import Any

import pytest
from flask import Flask

from jobs.job import Outcome, Reason, Status
from jobs.keys import Keys, Scope
from jobs.ledger import Ledger
from jobs.signals import Signals
from tests.ledgers import ANSWER, FAILURE
from tests.unit.api.conftest import DATA_URI, QUESTION, Caller, assert_problem

FACTS = {"host": "gpu-1", "slots": 8}


@pytest.fixture
def admin(app: Flask, api: Caller, client: Any, monkeypatch: pytest.MonkeyPatch) -> Caller:
    """A caller who may administer and nothing else, and is shown signals that are read anew."""
    parts = app.extensions["services"]
    fresh = Signals(client, parts.settings.lease_ms, kept_s=0)
    monkeypatch.setitem(app.extensions, "services", replace(parts, signals=fresh))
    return Caller(app.test_client(), Keys(client).create("ops", scopes=[Scope.ADMIN]))


def failed(api: Caller, books: Ledger, **changes: Any) -> str:
    """A job that has just failed."""
    job_id = api.submit(**changes)
    [model] = books.models()
    claim = books.claim(model, "w1")
    assert claim is not None
    books.finish(claim, Outcome(Status.FAILED, Reason.ERROR, error=FAILURE))
    return job_id


def told(response: Any) -> Any:
    """What was answered, to be kept by nobody."""
    assert response.status_code in (200, 202), response.text
    assert response.headers["Cache-Control"] == "private, no-store"
    return response.get_json()


def test_a_paused_intake_refuses_jobs_with_a_stable_code_until_it_is_resumed(
    admin: Caller, api: Caller
) -> None:
    before = api.submit()
    assert told(admin("POST", "/v1/admin/intake/pause", json={}))["paused"] is True
    assert_problem(api.create(), 503, "paused")
    picture = {"type": "image_url", "image_url": {"url": DATA_URI}}
    chat = {"model": "demo", "messages": [{"role": "user", "content": [picture]}]}
    assert_problem(api("POST", "/v1/chat/completions", json=chat), 503, "paused")
    assert api.job(before)["status"] == "queued"
    assert told(admin("GET", "/v1/admin/intake"))["paused_since"]
    resumed = told(admin("POST", "/v1/admin/intake/resume", json={}))
    assert resumed == {"paused": False, "paused_since": None, "tenants": []}
    api.submit()


def test_one_tenant_is_paused_alone(admin: Caller, api: Caller, stranger: Caller) -> None:
    paused = told(admin("POST", "/v1/admin/intake/pause", json={"tenant": "acme"}))
    assert [one["tenant"] for one in paused["tenants"]] == ["acme"]
    assert_problem(api.create(), 503, "paused")
    stranger.submit()
    told(admin("POST", "/v1/admin/intake/resume", json={"tenant": "acme"}))
    api.submit()


def test_what_cannot_be_a_tenant_is_told(admin: Caller) -> None:
    for name in ("*", "a b"):
        response = admin("POST", "/v1/admin/intake/pause", json={"tenant": name})
        assert_problem(response, 422, "invalid_field")


def test_a_worker_is_drained_says_so_and_is_resumed(
    admin: Caller, books: Ledger, api: Caller
) -> None:
    api.submit()
    [model] = books.models()
    books.renew("w1", model, FACTS, {})
    claim = books.claim(model, "w1")
    assert claim is not None
    [worker] = told(admin("GET", "/v1/admin/workers"))["data"]
    expected = {"name": "w1", "model": model, "host": "gpu-1", "slots": 8, "slots_used": 1}
    assert worker.items() >= {**expected, "state": "ready"}.items()
    assert told(admin("POST", "/v1/admin/workers/w1/drain", json={}))["state"] == "draining"
    books.finish(claim, ANSWER)
    [worker] = told(admin("GET", "/v1/admin/workers"))["data"]
    assert worker["state"] == "drained"
    assert told(admin("POST", "/v1/admin/workers/w1/resume"))["state"] == "ready"
    handing = admin("POST", "/v1/admin/workers/w1/drain", json={"hand_back": True})
    assert told(handing)["state"] == "drained"


@pytest.mark.parametrize("word", ["drain", "resume"])
def test_a_worker_that_is_not_there_is_a_404(admin: Caller, word: str) -> None:
    assert_problem(admin("POST", f"/v1/admin/workers/w9/{word}", json={}), 404, "worker_not_found")


def test_failed_jobs_are_counted_and_listed_without_what_they_asked(
    admin: Caller, api: Caller, books: Ledger
) -> None:
    job_id = failed(api, books)
    counts = told(admin("GET", "/v1/admin/failures"))["data"]
    assert {one["reason"]: one["count"] for one in counts} == {
        **dict.fromkeys(("poison", "deadline", "expired", "refused"), 0),
        "error": 1,
    }
    response = admin("GET", "/v1/admin/failures/error?limit=5")
    [one] = told(response)["data"]
    assert (one["id"], one["tenant"], one["code"]) == (job_id, "acme", FAILURE["code"])
    assert one["finished_at"].endswith("Z")
    assert QUESTION not in response.text
    assert_problem(admin("GET", "/v1/admin/failures/boredom"), 404, "not_found")
    assert_problem(admin("GET", "/v1/admin/failures/error?limit=0"), 422, "invalid_field")


def test_all_that_failed_for_a_reason_is_asked_again_once(
    admin: Caller, api: Caller, books: Ledger
) -> None:
    for number in range(2):
        failed(api, books, question=f"{number}?")
    path = "/v1/admin/failures/error/retry"
    assert told(admin("POST", path, json={})) == {
        "retried": 2,
        "not_retried": {},
        "left": 0,
        "skip": 0,
    }
    assert told(admin("POST", path, json={}))["retried"] == 0
    listed = api("GET", "/v1/jobs?status=queued").get_json()["data"]
    assert len(listed) == 2
    assert all(job["metadata"]["retry_of"] for job in listed)


def test_its_tenant_asks_a_failed_job_again_and_gets_the_same_new_one_every_time(
    api: Caller, stranger: Caller, books: Ledger
) -> None:
    job_id = failed(api, books)
    first, again = (api("POST", f"/v1/jobs/{job_id}/retry") for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    new = first.get_json()
    assert again.get_json()["id"] == new["id"] != job_id
    assert first.headers["Location"].endswith(f"/v1/jobs/{new['id']}")
    assert first.headers["Retry-After"]
    assert (new["question"], new["metadata"]) == (QUESTION, {"retry_of": job_id})
    assert api.job(job_id)["status"] == "failed"
    assert_problem(stranger("POST", f"/v1/jobs/{job_id}/retry"), 404, "job_not_found")
    assert_problem(api("POST", f"/v1/jobs/{new['id']}/retry"), 409, "job_not_failed")


def test_an_operator_asks_any_job_again_and_sees_nothing_of_it(
    admin: Caller, api: Caller, books: Ledger
) -> None:
    job_id = failed(api, books)
    response = admin("POST", f"/v1/admin/jobs/{job_id}/retry")
    new = told(response)
    assert response.status_code == 202
    assert (new["tenant"], new["retry_of"]) == ("acme", job_id)
    assert QUESTION not in response.text
    assert api.job(new["id"])["status"] == "queued"
    assert_problem(admin("POST", "/v1/admin/jobs/job_none/retry"), 404, "job_not_found")


def test_figures_show_the_last_hour_minute_by_minute(
    admin: Caller, api: Caller, books: Ledger
) -> None:
    api.submit()
    [model] = books.models()
    claim = books.claim(model, "w1")
    assert claim is not None
    books.finish(claim, ANSWER)
    figures = told(admin("GET", "/v1/admin/figures"))
    assert len(figures["minutes"]) == 60
    hour = figures["hour"]
    assert (hour["accepted"], hour["succeeded"], hour["failed"], hour["canceled"]) == (1, 1, 0, 0)
    assert 0 < hour["whole_ms"]["p50"] <= hour["whole_ms"]["p95"]
    assert figures["minutes"][0]["waiting_ms"] == {"p50": None, "p95": None}
