"""What is accepted, how it is answered, and what a job looks like from then on."""

import base64
import io
import json
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs.job import Outcome, Priority, Status
from jobs.ledger import Ledger
from jobs.request import Parameters
from jobs.scripts import PREFIX
from tests.eventually import eventually
from tests.ledgers import ANSWER, claimed
from tests.unit.api.conftest import DATA_URI, PNG, QUESTION, Caller, assert_problem, body

MEMBERS = {
    *("id", "status", "status_reason", "model", "question", "answer", "error", "created_at"),
    *("started_at", "finished_at", "expires_at", "queue", "attempts", "usage", "timing"),
    *("deduplicated_from", "group", "metadata", "webhook_status", "links"),
}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def test_a_job_is_accepted_with_202_and_where_to_find_it(api: Caller) -> None:
    response = api.create()

    assert response.status_code == 202
    assert response.mimetype == "application/json"
    job = response.json
    assert job
    assert re.fullmatch(r"job_[0-9a-f]{32,}", job["id"])
    assert response.headers["Location"] == response.headers["Operation-Location"]
    assert response.headers["Operation-Location"].startswith("http")
    assert response.headers["Operation-Location"].endswith(f"/v1/jobs/{job['id']}")
    assert int(response.headers["Retry-After"]) > 0
    assert api("GET", response.headers["Location"]).json == job


def test_a_queued_job_has_every_member_of_the_contract(api: Caller) -> None:
    job = api.job(api.submit(group="ticket-1", metadata={"a": ["ü", None]}))
    assert set(job) >= MEMBERS
    assert (job["status"], job["status_reason"], job["model"]) == ("queued", None, "demo")
    assert (job["question"], job["answer"], job["error"]) == (QUESTION, None, None)
    assert (job["started_at"], job["finished_at"]) == (None, None)
    assert (job["attempts"], job["usage"], job["timing"]) == ([], None, None)
    assert (job["group"], job["metadata"]) == ("ticket-1", {"a": ["ü", None]})
    assert (job["deduplicated_from"], job["webhook_status"]) == (None, None)
    assert set(job["queue"]) == {"position", "estimated_start", "estimated_finish"}
    assert job["queue"]["position"] == 1
    assert set(job["links"]) == {"self", "cancel", "stream"}


def test_a_queued_job_has_a_forecast_of_its_start_and_end_where_something_was_answered(
    api: Caller, books: Ledger
) -> None:
    api.submit()
    first = api.job(api.submit(cache=False))["queue"]
    assert (first["estimated_start"], first["estimated_finish"]) == (None, None)
    books.renew("w1", "demo", {"slots": 1}, {})
    books.finish(claimed(books), ANSWER)
    eventually(
        lambda: api.job(api.submit(cache=False))["queue"]["estimated_start"], "it is forecast"
    )
    queue = api.job(api.submit(cache=False))["queue"]
    told = [queue["estimated_start"], *map(queue["estimated_finish"].get, ("p50", "p90"))]
    assert all(map(TIME.fullmatch, told))
    assert told == sorted(told)


def test_a_deadline_that_the_queue_cannot_meet_is_refused_at_once_with_the_estimate(
    api: Caller, books: Ledger
) -> None:
    books.renew("w1", "demo", {"slots": 1, "running": 1}, {})
    api.submit(cache=False)
    claim = claimed(books)
    eventually(lambda: time.time() * 1000 > claim.job.created_at + 300, "it takes 300 ms")
    books.finish(claim, ANSWER)
    for _ in range(20):
        api.submit(cache=False)

    def refused() -> dict[str, Any] | None:
        response = api.create(deadline="1s", cache=False)
        return (
            assert_problem(response, 422, "deadline_unmeetable")
            if response.status_code == 422
            else None
        )

    told = eventually(refused, "the pace is seen")
    seconds = float(re.search(r"about ([0-9.]+) s", told["detail"])[1])  # type: ignore[index]
    assert seconds > 5
    assert api.create(deadline="1h", cache=False).status_code == 202


def test_a_finished_job_has_its_answer_and_all_times(api: Caller, books: Ledger) -> None:
    job_id = api.submit()
    answer = {"text": "错误 E42", "finish_reason": "stop"}
    usage = {"prompt_tokens": 9, "cached_tokens": 0, "completion_tokens": 3}
    timing = {"queue_ms": 1, "preprocess_ms": 2, "vision_ms": 3, "generate_ms": 4}
    books.finish(claimed(books), Outcome(Status.SUCCEEDED, None, answer, None, usage, timing))

    job = api.job(job_id)

    assert (job["status"], job["status_reason"], job["error"]) == ("succeeded", None, None)
    assert job["answer"]["text"] == "错误 E42"
    assert (job["usage"], job["timing"]) == (usage, timing)
    [attempt] = job["attempts"]
    assert set(attempt) == {"number", "worker", "started_at", "ended_at", "outcome"}
    assert (attempt["number"], attempt["worker"], attempt["outcome"]) == (1, "w1", "succeeded")
    times = [
        *(job[name] for name in ("created_at", "started_at", "finished_at", "expires_at")),
        *(attempt[name] for name in ("started_at", "ended_at")),
    ]
    assert all(TIME.fullmatch(time) for time in times)
    assert times[:4] == sorted(times[:4])
    age = datetime.now(UTC) - datetime.fromisoformat(job["created_at"])
    assert timedelta(seconds=-1) < age < timedelta(minutes=1)


def test_a_failed_job_says_why(api: Caller, books: Ledger) -> None:
    job_id = api.submit()
    error = {"code": "image_expired", "message": "a picture is no longer kept"}
    books.finish(claimed(books), Outcome(Status.FAILED, error=error))
    job = api.job(job_id)
    assert (job["status"], job["error"], job["answer"]) == ("failed", error, None)


def test_a_job_past_its_deadline_says_so(api: Caller, books: Ledger, client: Any) -> None:
    job_id = api.submit(deadline="1ms")
    while not books.sweep().ended:
        pass
    job = api.job(job_id)
    assert (job["status"], job["status_reason"]) == ("failed", "deadline")
    assert set(job["error"]) == {"code", "message"}


def test_a_form_and_json_ask_the_same(api: Caller, books: Ledger) -> None:
    fields = {
        "question": QUESTION,
        "max_new_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "seed": 7,
        "stop": ["\n", "END"],
        "priority": "low",
        "deadline": "5m",
        "group": "ticket-1",
        "metadata": {"a": 1},
        "cache": False,
    }
    api("POST", "/v1/jobs", json={**fields, "images": [{"data": DATA_URI, "detail": "high"}] * 2})
    form: dict[str, Any] = {**fields, "metadata": json.dumps(fields["metadata"]), "detail": "high"}
    form["image"] = [(io.BytesIO(PNG), "a.png"), (io.BytesIO(PNG), "b.png")]
    response = api("POST", "/v1/jobs", data=form)
    assert response.status_code == 202, response.text

    one, two = claimed(books).job, claimed(books).job
    assert one.conversation == two.conversation
    assert [image.detail for image in one.conversation.images] == ["high", "high"]
    assert one.parameters == Parameters(7, 0.5, 0.9, top_k=40, seed=7, stop=("\n", "END"))
    assert (one.parameters, one.metadata) == (two.parameters, two.metadata)
    assert (one.priority, one.group) == (two.priority, two.group) == (Priority.LOW, "ticket-1")
    assert one.due_at - one.created_at == two.due_at - two.created_at == 300_000


def test_a_conversation_keeps_its_turns_and_its_pictures_places(api: Caller, books: Ledger) -> None:
    picture = {"type": "image_url", "image_url": {"url": DATA_URI}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "left"}, picture, picture]},
        {"role": "assistant", "content": "E42"},
        {"role": "user", "content": "And now?"},
    ]
    response = api("POST", "/v1/jobs", json={"messages": messages})
    assert response.status_code == 202, response.text
    assert response.json
    assert response.json["question"] == "And now?"
    turns = claimed(books).job.conversation.turns
    assert [turn.role for turn in turns] == ["system", "user", "assistant", "user"]
    assert [isinstance(part, str) for part in turns[1].parts] == [True, False, False]


def test_what_a_caller_does_not_set_is_off(api: Caller, books: Ledger) -> None:
    api.submit()
    job = claimed(books).job
    assert job.parameters == Parameters(256, 0.0, 1.0, top_k=0, seed=None, stop=())
    assert [image.detail for image in job.conversation.images] == ["auto"]


@pytest.mark.parametrize(
    ("stop", "kept"),
    [("END", ("END",)), (["a", "b"], ("a", "b")), ([], ()), (None, ()), ("x" * 64, ("x" * 64,))],
    ids=str,
)
def test_stop_is_one_text_or_a_list(
    api: Caller, books: Ledger, stop: Any, kept: tuple[str, ...]
) -> None:
    api.submit(stop=stop)
    assert claimed(books).job.parameters.stop == kept


def test_each_picture_has_a_detail_of_its_own(api: Caller, books: Ledger) -> None:
    api.submit(images=[{"data": DATA_URI, "detail": "high"}, {"data": DATA_URI}])
    images = claimed(books).job.conversation.images
    assert [image.detail for image in images] == ["high", "auto"]


def test_of_openais_details_low_is_taken_as_auto(api: Caller, books: Ledger) -> None:
    content = [
        {"type": "image_url", "image_url": {"url": DATA_URI, **detail}}
        for detail in ({}, {"detail": "auto"}, {"detail": "low"}, {"detail": "high"})
    ]
    messages = [{"role": "user", "content": [*content, {"type": "text", "text": QUESTION}]}]
    assert api("POST", "/v1/jobs", json={"messages": messages}).status_code == 202
    images = claimed(books).job.conversation.images
    assert [image.detail for image in images] == ["auto", "auto", "auto", "high"]


def test_messages_may_come_in_a_form_with_the_pictures_inside(api: Caller) -> None:
    picture = {"type": "image_url", "image_url": {"url": DATA_URI}}
    messages = [{"role": "user", "content": [picture, {"type": "text", "text": QUESTION}]}]
    head = b'--X\r\nContent-Disposition: form-data; name="messages"\r\n\r\n'
    data = head + json.dumps(messages).encode() + b"\r\n--X--\r\n"
    response = api("POST", "/v1/jobs", data=data, content_type="multipart/form-data; boundary=X")
    assert response.status_code == 202, response.text


def test_bare_base64_is_a_picture_too(api: Caller) -> None:
    assert api.submit(images=[{"data": base64.b64encode(PNG).decode()}])


@pytest.mark.parametrize(
    ("deadline", "milliseconds"), [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("2h", 7.2e6)]
)
def test_a_deadline_counts_from_acceptance(
    api: Caller, books: Ledger, deadline: str, milliseconds: int
) -> None:
    job_id = api.submit(deadline=deadline)
    job = books.get("acme", job_id)
    assert job
    assert job.due_at - job.created_at == milliseconds


def test_the_same_picture_is_stored_once_for_a_tenant(api: Caller, client: Any) -> None:
    for _ in range(3):
        api.submit()
    assert len(client.keys(f"{PREFIX}image:acme:*")) == 1


def test_the_upload_itself_is_never_stored(api: Caller, client: Any) -> None:
    canary = b"GPS 48.1173 11.5167"
    api.submit(images=[{"data": base64.b64encode(PNG + canary).decode()}])
    assert not [key for key in client.scan_iter() if canary in (client.dump(key) or b"")]


def test_the_same_idempotency_key_and_body_give_the_first_answer_again(api: Caller) -> None:
    first = api.create(headers={"Idempotency-Key": "k1"})
    again = api.create(headers={"Idempotency-Key": "k1"})
    other = api.create(headers={"Idempotency-Key": "k2"})
    assert again.status_code == first.status_code
    assert first.json
    assert again.json
    # Whose times go on.
    assert {**again.json, "queue": {}} == {**first.json, "queue": {}}
    assert again.headers["Location"] == first.headers["Location"]
    assert other.json
    assert other.json["id"] != first.json["id"]


@pytest.mark.parametrize(
    "change",
    [
        {"question": "Another?"},
        {"max_new_tokens": 5},
        {"temperature": 0.1},
        {"priority": "high"},
        {"deadline": "9m"},
        {"group": "g"},
        {"cache": False},
        {"metadata": {"a": 1}},
        {"images": [{"data": DATA_URI}] * 2},
    ],
    ids=str,
)
def test_an_idempotency_key_with_another_body_is_a_422(api: Caller, change: dict[str, Any]) -> None:
    api.create(headers={"Idempotency-Key": "k1"})
    response = api.create(headers={"Idempotency-Key": "k1"}, **change)
    told = assert_problem(response, 422, "idempotency_mismatch")
    assert told["error"]["param"] == "Idempotency-Key"


def test_an_idempotency_key_is_its_tenants_alone(api: Caller, stranger: Caller) -> None:
    mine = api.create(headers={"Idempotency-Key": "k1"})
    theirs = stranger.create(headers={"Idempotency-Key": "k1"}, question="Another?")
    assert theirs.status_code == 202
    assert mine.json
    assert theirs.json
    assert mine.json["id"] != theirs.json["id"]


def test_the_media_types_parameters_do_not_matter(api: Caller) -> None:
    response = api(
        "POST",
        "/v1/jobs",
        data=json.dumps(body()),
        content_type="application/json; charset=utf-8",
    )
    assert response.status_code == 202
