"""Whoever asks what was asked before is told so, and gets the same answer."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from flask import Flask

from jobs.hints import queue_of
from jobs.ledger import Ledger
from jobs.scripts import PREFIX
from tests.eventually import PATIENCE_S, eventually
from tests.ledgers import ANSWER, MODEL, claimed
from tests.unit.api.conftest import PNG, QUESTION, Caller, assert_problem


def test_who_asks_what_is_being_asked_gets_a_job_that_names_the_first(api: Caller) -> None:
    first = api.submit()
    response = api.create(metadata={"mine": True})
    assert response.status_code == 202
    job = response.json
    assert job
    assert job["id"] != first
    assert (job["status"], job["deduplicated_from"]) == ("queued", first)
    assert job["metadata"] == {"mine": True}
    assert job["queue"]["position"] == 1
    assert int(response.headers["Retry-After"]) > 0
    assert response.headers["Location"].endswith(job["id"])
    assert api.job(first)["deduplicated_from"] is None


def test_a_job_that_needs_no_worker_calls_none(api: Caller, client: Any) -> None:
    for _ in range(3):
        api.submit()
    api.create(headers={"Prefer": "wait=1"})
    assert client.llen(f"{PREFIX}broker:{queue_of(MODEL)}") == 1


def test_all_who_wait_for_the_same_work_hear_of_its_end(api: Caller, books: Ledger) -> None:
    with ThreadPoolExecutor(3) as callers:
        waiting = [callers.submit(api.create, headers={"Prefer": "wait=30"}) for _ in range(3)]
        eventually(lambda: books.counters().get("coalesced") == 2, "all have asked")
        assert books.finish(claimed(books), ANSWER)
        responses = [future.result(timeout=PATIENCE_S) for future in waiting]
    assert [response.status_code for response in responses] == [200] * 3
    jobs = [response.json or {} for response in responses]
    assert {job["answer"]["text"] for job in jobs} == {"E42"}
    assert len({job["id"] for job in jobs}) == 3


def test_a_known_answer_comes_with_the_acceptance(api: Caller, books: Ledger) -> None:
    first = api.submit()
    books.finish(claimed(books), ANSWER)

    response = api.create()

    assert response.status_code == 202
    job = response.json
    assert job
    assert (job["status"], job["deduplicated_from"]) == ("succeeded", first)
    assert (job["answer"], job["attempts"], job["queue"]) == (ANSWER.answer, [], None)
    assert job["finished_at"] == job["created_at"]
    assert "Retry-After" not in response.headers
    assert api("GET", response.headers["Location"]).json == job


def test_a_known_answer_needs_no_wait(api: Caller, books: Ledger) -> None:
    api.submit()
    books.finish(claimed(books), ANSWER)
    response = api.create(headers={"Prefer": "wait=30"})
    assert response.status_code == 200
    assert response.json
    assert response.json["answer"] == ANSWER.answer


def test_with_cache_false_a_job_is_run_for_itself(api: Caller, books: Ledger) -> None:
    api.submit()
    assert api.job(api.submit(cache=False))["deduplicated_from"] is None
    form = {"question": QUESTION, "cache": "false", "image": (BytesIO(PNG), "a.png")}
    response = api("POST", "/v1/jobs", data=form)
    assert response.json
    assert response.json["deduplicated_from"] is None
    assert len([claimed(books) for _ in range(3)]) == 3


def test_json_and_a_form_that_ask_the_same_are_the_same_work(api: Caller) -> None:
    first = api.submit()
    form = {"question": QUESTION, "image": (BytesIO(PNG), "a.png")}
    response = api("POST", "/v1/jobs", data=form)
    assert response.json
    assert response.json["deduplicated_from"] == first


def test_another_tenants_work_is_none_of_ones_own(
    api: Caller, stranger: Caller, books: Ledger
) -> None:
    api.submit()
    assert stranger.job(stranger.submit())["deduplicated_from"] is None
    books.finish(claimed(books), ANSWER)
    books.finish(claimed(books), ANSWER)
    mine, theirs = api.job(api.submit()), stranger.job(stranger.submit())
    assert mine["status"] == theirs["status"] == "succeeded"
    assert mine["deduplicated_from"] != theirs["deduplicated_from"]


def test_an_answer_from_before_a_content_policy_is_not_given_under_one(
    api: Caller, app: Flask, books: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.submit()
    books.finish(claimed(books), ANSWER)
    parts = app.extensions["services"]
    strict = parts.settings.model_copy(update={"policy": "examples.policy:PrivacyPolicy"})
    monkeypatch.setitem(app.extensions, "services", replace(parts, settings=strict))
    first = api.submit()
    assert api.job(first)["deduplicated_from"] is None
    assert api.job(api.submit())["deduplicated_from"] == first


def test_an_idempotency_key_is_looked_at_first(api: Caller, books: Ledger) -> None:
    first = api.create(headers={"Idempotency-Key": "k1"})
    again = api.create(headers={"Idempotency-Key": "k1"})
    assert again.json == first.json
    assert_problem(
        api.create(headers={"Idempotency-Key": "k1"}, cache=False), 422, "idempotency_mismatch"
    )
    assert books.counters() == {}
