"""Chat completions: the same jobs, asked for and answered as OpenAI's clients do."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from api.services import Services
from jobs.job import Claim, Outcome, Reason, Status
from jobs.ledger import Ledger
from jobs.pieces import Piece, Pieces
from tests.eventually import PATIENCE_S, eventually
from tests.ledgers import MODEL, claimed
from tests.unit.api.conftest import DATA_URI, Caller, assert_problem

URL = "/v1/chat/completions"
USAGE = {"prompt_tokens": 40, "cached_tokens": 32, "completion_tokens": 3}
WHOLE = Outcome(
    Status.SUCCEEDED, answer={"text": "It is E42.", "finish_reason": "stop"}, usage=USAGE
)
SHOWN = {"type": "image_url", "image_url": {"url": DATA_URI}}


def asking(**changes: Any) -> dict[str, Any]:
    """A body that is accepted, with changes."""
    content = [SHOWN, {"type": "text", "text": "What is the error code?"}]
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **changes}


def ask(api: Caller, headers: dict[str, str] | None = None, **changes: Any) -> TestResponse:
    """Ask, and wait for the end of the answer."""
    return api("POST", URL, json=asking(**changes), headers=headers or {})


@pytest.fixture
def parts(app: Flask) -> Services:
    """What the application works with."""
    found: Services = app.extensions["services"]
    return found


def answered(api: Caller, books: Ledger, outcome: Outcome = WHOLE, **changes: Any) -> TestResponse:
    """Ask, and have a worker end the job with an outcome."""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, api, **changes)
        books.finish(arrived(books), outcome)
        return asked.result(PATIENCE_S)


def arrived(books: Ledger) -> Claim:
    """The next job, once it is there."""
    return eventually(lambda: books.claim(MODEL, "w1"), "a job arrives")


def test_the_answer_comes_as_a_chat_completion(api: Caller, books: Ledger) -> None:
    response = answered(api, books)
    assert response.status_code == 200
    told = response.json
    assert told
    job = api.job(told["id"])
    assert told.pop("created") > 1_700_000_000
    assert told == {
        "id": job["id"],
        "object": "chat.completion",
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "It is E42."},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {
            "prompt_tokens": 40,
            "completion_tokens": 3,
            "total_tokens": 43,
            "prompt_tokens_details": {"cached_tokens": 32},
        },
    }
    assert response.headers["Operation-Location"].endswith(job["links"]["self"])


def test_what_is_asked_for_is_a_job_like_any_other(api: Caller, books: Ledger) -> None:
    told = answered(
        api,
        books,
        max_completion_tokens=7,
        temperature=0.5,
        top_p=0.9,
        seed=3,
        stop="END",
        user="u-1",
        metadata={"ticket": "7"},
        n=1,
        stream=False,
    ).json
    assert told
    found = books.get("acme", told["id"])
    assert found
    asked = found.parameters
    assert (asked.max_new_tokens, asked.temperature, asked.top_p) == (7, 0.5, 0.9)
    assert (asked.seed, asked.stop) == (3, ("END",))
    assert found.metadata == {"user": "u-1", "ticket": "7"}
    assert found.conversation.question == "What is the error code?"


def test_what_was_asked_natively_is_the_same_work(api: Caller, books: Ledger) -> None:
    job_id = api.submit()
    books.finish(claimed(books), WHOLE)
    told = ask(api).json
    assert told
    assert api.job(told["id"])["deduplicated_from"] == job_id
    assert told["usage"]["prompt_tokens_details"]["cached_tokens"] == 40


def chunks(text: str) -> list[dict[str, Any]]:
    """The chunks of a stream that ends as it should."""
    lines = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data")]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("with_usage", [False, True])
def test_a_stream_joins_to_the_answer(api: Caller, books: Ledger, with_usage: bool) -> None:
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if with_usage else {}
    response = answered(api, books, stream=True, **options)
    assert response.mimetype == "text/event-stream"
    told = chunks(response.text)
    usage = told.pop() if with_usage else None
    deltas = [chunk["choices"][0]["delta"] for chunk in told]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(delta.get("content", "") for delta in deltas) == "It is E42."
    assert [chunk["choices"][0]["finish_reason"] for chunk in told][-2:] == [None, "stop"]
    assert {chunk["object"] for chunk in told} == {"chat.completion.chunk"}
    assert {"usage" in chunk for chunk in told} == {with_usage}
    if usage:
        assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 43)


def test_pieces_are_told_as_they_are_made(api: Caller, books: Ledger, client: Any) -> None:
    response = api.http.post(
        URL, json=asking(stream=True), headers={"Authorization": f"Bearer {api.key}"}
    )
    lines: Iterator[bytes] = iter(response.response)  # type: ignore[arg-type]
    assert b'"role": "assistant"' in next(lines)
    claim = claimed(books)
    for offset, word in ((0, "It "), (3, "is ")):
        Pieces(client).say([Piece(claim.job.id, claim.fence, offset, word)])
        assert json.dumps(word).encode() in next(lines)
    books.finish(claim, WHOLE)
    assert b'"E42."' in next(lines)
    response.close()


def test_an_answer_that_becomes_another_is_an_error(
    api: Caller, books: Ledger, client: Any
) -> None:
    response = api.http.post(
        URL, json=asking(stream=True), headers={"Authorization": f"Bearer {api.key}"}
    )
    lines: Iterator[bytes] = iter(response.response)  # type: ignore[arg-type]
    next(lines)
    claim = claimed(books)
    Pieces(client).say([Piece(claim.job.id, claim.fence, 0, "Perhaps")])
    assert b"Perhaps" in next(lines)
    books.finish(claim, WHOLE)
    [last] = list(lines)
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "answer_restarted"
    response.close()


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"model": None}, "invalid_field", "model"),
        ({"messages": []}, "invalid_field", "messages"),
        ({"messages": [{"role": "user", "content": "No picture?"}]}, "image_missing", "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "invalid_field", "messages.0.role"),
        ({"n": 2}, "invalid_field", "n"),
        ({"temperature": 3}, "invalid_field", "temperature"),
        ({"temperature": "0"}, "invalid_field", "temperature"),
        ({"top_p": 0}, "invalid_field", "top_p"),
        ({"max_tokens": 0}, "invalid_field", "max_tokens"),
        ({"max_tokens": 5000}, "invalid_field", "max_tokens"),
        ({"max_completion_tokens": 5000}, "invalid_field", "max_completion_tokens"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "conflicting_fields", None),
        ({"stop": ["a"] * 5}, "invalid_field", "stop"),
        ({"seed": -1}, "invalid_field", "seed"),
        ({"stream_options": {"include_usage": True}}, "conflicting_fields", None),
        ({"tools": []}, "unknown_field", "tools"),
        ({"logprobs": True}, "unknown_field", "logprobs"),
        ({"frequency_penalty": 1}, "unknown_field", "frequency_penalty"),
    ],
)
def test_what_cannot_be_taken_is_refused_and_named(
    api: Caller, changes: dict[str, Any], code: str, param: str | None
) -> None:
    told = assert_problem(ask(api, **changes), 400, code)
    assert told["error"]["param"] == param
    assert "max_new_tokens" not in told["detail"]


def test_a_picture_by_url_is_refused_while_urls_are_off(api: Caller) -> None:
    linked = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    content = [linked, {"type": "text", "text": "What is it?"}]
    response = ask(api, messages=[{"role": "user", "content": content}])
    told = assert_problem(response, 400, "image_url_off")
    assert told["error"]["param"] == "messages"


def test_a_picture_that_is_none_is_refused(api: Caller) -> None:
    broken = {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64,bm90IGEgcGljdHVyZQ=="},
    }
    content = [broken, {"type": "text", "text": "What is it?"}]
    response = ask(api, messages=[{"role": "user", "content": content}])
    assert_problem(response, 415, "image_unsupported")


def test_an_unknown_model_is_a_404(api: Caller) -> None:
    assert_problem(ask(api, model="gpt-none"), 404, "model_not_found")
    assert_problem(api("GET", "/v1/models/gpt-none"), 404, "model_not_found")


def test_a_served_model_is_shown(api: Caller, books: Ledger) -> None:
    books.renew("w1", MODEL, {}, {})
    [listed] = api("GET", "/v1/models").json["data"]  # type: ignore[index]
    assert api("GET", f"/v1/models/{MODEL}").json == listed


def test_no_key_is_a_401(api: Caller) -> None:
    response = ask(api, headers={"Authorization": "Bearer nobody"})
    assert_problem(response, 401, "invalid_api_key")


def failed(code: str) -> Outcome:
    """A job that failed with a code of its own."""
    return Outcome(Status.FAILED, Reason.ERROR, error={"code": code, "message": "said why"})


@pytest.mark.parametrize(
    ("outcome", "status", "code"),
    [
        (failed("prompt_too_long"), 400, "prompt_too_long"),
        (failed("invalid_request"), 400, "invalid_request"),
        (failed("out_of_memory"), 500, "out_of_memory"),
        (Outcome(Status.FAILED, Reason.DEADLINE), 504, "deadline_exceeded"),
        (Outcome(Status.CANCELED), 409, "job_canceled"),
    ],
)
def test_a_job_without_an_answer_is_an_error_that_is_not_tried_again(
    api: Caller, books: Ledger, outcome: Outcome, status: int, code: str
) -> None:
    response = answered(api, books, outcome)
    assert_problem(response, status, code)
    assert response.headers["x-should-retry"] == "false"
    assert "/v1/jobs/job_" in response.headers["Location"]
    streamed = answered(api, books, outcome, stream=True)
    [*_, last] = [line for line in streamed.text.split("\n") if line]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == code


@pytest.fixture
def hasty(parts: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """An API that waits for no answer."""
    settings = parts.settings.model_copy(update={"chat_timeout_s": 0.01})
    monkeypatch.setitem(vars(parts), "settings", settings)


@pytest.mark.usefixtures("hasty")
def test_an_answer_that_takes_too_long_is_found_by_its_job(api: Caller, books: Ledger) -> None:
    response = ask(api)
    told = assert_problem(response, 504, "not_answered_yet")
    job_id = response.headers["Location"].rpartition("/")[2]
    assert job_id in told["detail"]
    assert "x-should-retry" not in response.headers
    assert api.job(job_id)["status"] == "queued"
    again = ask(api)
    assert again.headers["Location"].rpartition("/")[2] != job_id
    books.finish(claimed(books), WHOLE)
    assert api.job(job_id)["answer"]["text"] == "It is E42."


def hung_up(api: Caller, body: dict[str, Any]) -> TestResponse:
    """Ask over a connection whose other end is closed."""
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        return api("POST", URL, json=body, environ_overrides={"gunicorn.socket": ours})


@pytest.mark.parametrize("stream", [False, True])
def test_whoever_hangs_up_takes_the_job_along(api: Caller, books: Ledger, stream: bool) -> None:
    hung_up(api, asking(stream=stream))
    [job] = api("GET", "/v1/jobs").json["data"]  # type: ignore[index]
    assert (job["status"], job["status_reason"]) == ("canceled", "canceled")


def test_a_job_that_another_waits_for_goes_on(api: Caller, books: Ledger) -> None:
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(ask, api)
        eventually(lambda: books.queued(MODEL).get("normal"), "the first is there")
        hung_up(api, asking())
        books.finish(claimed(books), WHOLE)
        assert other.result(PATIENCE_S).status_code == 200


def test_too_many_at_once_are_a_429(api: Caller, parts: Services) -> None:
    held = [parts.connections.hold("acme") for _ in range(64)]
    assert_problem(ask(api), 429, "too_many_connections")
    assert api("GET", "/v1/jobs").json["data"] == []  # type: ignore[index]
    for let_go in held:
        let_go()
