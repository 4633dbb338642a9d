"""Asking on: a job goes on with the turns, the answer and the pictures of one before."""

import base64
from typing import Any

import pytest
from flask import Flask

from jobs.job import Outcome, Reason, Status
from jobs.keys import Keys, Scope
from jobs.ledger import Ledger
from jobs.request import Conversation, ImagePart
from jobs.scripts import PREFIX
from tests.ledgers import ANSWER, FAILURE, claimed
from tests.unit.api.conftest import DATA_URI, QUESTION, Caller, assert_problem
from tests.unit.api.pictures import encoded, scene

ON: dict[str, Any] = {"question": "And what does it mean?", "images": ...}


def answered(api: Caller, books: Ledger, **changes: Any) -> str:
    """The id of a job that was answered with E42."""
    job_id = api.submit(**changes)
    assert books.finish(claimed(books), ANSWER)
    return job_id


def said(conversation: Conversation) -> list[tuple[str, list[str]]]:
    """A conversation as (role, parts), a picture as its digest's beginning."""
    return [
        (turn.role, [p.digest[:4] if isinstance(p, ImagePart) else p for p in turn.parts])
        for turn in conversation.turns
    ]


def test_a_job_goes_on_with_turns_answer_and_pictures(api: Caller, books: Ledger) -> None:
    first = answered(api, books)
    response = api.create(**ON, previous_job_id=first)
    assert response.status_code == 202
    assert response.get_json()["previous_job_id"] == first
    assert response.get_json()["question"] == ON["question"]

    conversation = claimed(books).job.conversation
    [picture] = conversation.images
    assert said(conversation) == [
        ("user", [picture.digest[:4], QUESTION]),
        ("assistant", ["E42"]),
        ("user", [ON["question"]]),
    ]


def test_it_may_go_on_and_on_and_show_more(api: Caller, books: Ledger) -> None:
    first = answered(api, books)
    second = answered(api, books, **ON, previous_job_id=first)
    api.submit(
        question="And this one?",
        images=[{"data": DATA_URI, "detail": "high"}],
        previous_job_id=second,
    )
    conversation = claimed(books).job.conversation
    assert [turn.role for turn in conversation.turns] == ["user", "assistant"] * 2 + ["user"]
    assert [picture.detail for picture in conversation.images] == ["auto", "high"]


def test_a_form_may_ask_on(api: Caller, books: Ledger) -> None:
    first = answered(api, books)
    fields = {"question": "And?", "previous_job_id": first}
    response = api("POST", "/v1/jobs", data=fields, content_type="multipart/form-data")
    assert response.status_code == 202, response.text


def test_a_job_that_was_answered_by_anothers_work_may_be_asked_on_from(
    api: Caller, books: Ledger
) -> None:
    answered(api, books)
    copy = api.submit()
    assert api.job(copy)["deduplicated_from"]
    assert api.create(**ON, previous_job_id=copy).status_code == 202


def test_the_model_is_that_of_the_job_before_unless_another_is_named(
    api: Caller, books: Ledger, client: Any
) -> None:
    client.sadd(f"{PREFIX}models", "other")
    job_id = api.submit(model="other")
    claim = books.claim("other", "w1")
    assert claim
    books.finish(claim, ANSWER)
    assert api.create(**ON, previous_job_id=job_id).get_json()["model"] == "other"
    named = api.create(**ON, previous_job_id=job_id, model="demo").get_json()
    assert named["model"] == "demo"


def test_a_job_that_goes_on_from_none_says_so(api: Caller) -> None:
    assert api.job(api.submit())["previous_job_id"] is None


def test_pictures_stay_for_the_job_that_asks_on(api: Caller, books: Ledger, client: Any) -> None:
    first = answered(api, books)
    second = api.submit(**ON, previous_job_id=first)
    assert api("DELETE", f"/v1/jobs/{first}").status_code == 204
    assert len(client.keys(f"{PREFIX}image:acme:*")) == 1
    assert api("DELETE", f"/v1/jobs/{second}").status_code == 204
    assert not client.keys(f"{PREFIX}image:acme:*")


def test_a_job_of_nobody_and_one_of_another_tenant_are_equally_unknown(
    api: Caller, stranger: Caller, books: Ledger
) -> None:
    theirs = answered(api, books)
    for job_id in (theirs, "job_" + "0" * 32, "x"):
        response = stranger.create(**ON, previous_job_id=job_id)
        told = assert_problem(response, 422, "previous_job_not_found")
        assert told["error"]["param"] == "previous_job_id"


def test_a_job_that_is_not_answered_yet_is_a_409(api: Caller, books: Ledger) -> None:
    job_id = api.submit()
    for _ in range(2):
        response = api.create(**ON, previous_job_id=job_id)
        assert_problem(response, 409, "previous_job_open")
        assert int(response.headers["Retry-After"]) > 0
        books.claim("demo", "w1")


@pytest.mark.parametrize("end", ["failed", "canceled"])
def test_a_job_that_ended_unanswered_cannot_be_asked_on_from(
    api: Caller, books: Ledger, end: str
) -> None:
    job_id = api.submit()
    if end == "canceled":
        api("POST", f"/v1/jobs/{job_id}/cancel")
    else:
        books.finish(claimed(books), Outcome(Status.FAILED, Reason.ERROR, error=FAILURE))
    assert_problem(api.create(**ON, previous_job_id=job_id), 422, "previous_job_unanswered")


def test_pictures_that_have_gone_are_told(api: Caller, books: Ledger, client: Any) -> None:
    job_id = answered(api, books)
    client.delete(*client.keys(f"{PREFIX}image:acme:*"))
    assert_problem(api.create(**ON, previous_job_id=job_id), 422, "image_expired")


def test_earlier_pictures_count(api: Caller, books: Ledger, client: Any) -> None:
    job_id = answered(api, books, images=[{"data": DATA_URI}] * 7)
    assert api.create(**ON, previous_job_id=job_id).status_code == 202
    stored = client.keys(f"{PREFIX}image:acme:*")
    new = another_picture()
    response = api.create(
        question="And?", images=[{"data": new}, {"data": new}], previous_job_id=job_id
    )
    assert_problem(response, 422, "too_many_images")
    assert client.keys(f"{PREFIX}image:acme:*") == stored


def another_picture() -> str:
    """Another picture than all others, as a data URI."""
    return "data:image/png;base64," + base64.b64encode(encoded(scene().rotate(90), "PNG")).decode()


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"question": ..., "images": ...}, "question_missing"),
        (
            {"question": ..., "images": ..., "messages": [{"role": "user", "content": "?"}]},
            "conflicting_fields",
        ),
        ({"previous_job_id": 5}, "invalid_field"),
        ({"previous_job_id": ""}, "invalid_field"),
    ],
)
def test_it_goes_on_with_a_question(
    api: Caller, books: Ledger, fields: dict[str, Any], code: str
) -> None:
    asked = {"previous_job_id": answered(api, books), **fields}
    assert_problem(api.create(**asked), 422, code)


def test_whoever_may_not_read_an_answer_may_not_ask_on_from_it(
    app: Flask, api: Caller, books: Ledger, client: Any
) -> None:
    job_id = answered(api, books)
    sender = Caller(app.test_client(), Keys(client).create("acme", scopes=[Scope.SUBMIT]))
    refused = sender.create(**ON, previous_job_id=job_id)
    assert_problem(refused, 403, "insufficient_scope")


def test_under_one_idempotency_key_another_job_before_is_another_request(
    api: Caller, books: Ledger
) -> None:
    first, second = (answered(api, books, cache=False) for _ in range(2))
    headers = {"Idempotency-Key": "once"}
    made = api.create(headers, **ON, previous_job_id=first)
    again = api.create(headers, **ON, previous_job_id=first)
    assert made.get_json()["id"] == again.get_json()["id"]
    other = api.create(headers, **ON, previous_job_id=second)
    assert_problem(other, 422, "idempotency_mismatch")
