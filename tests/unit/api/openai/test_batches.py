"""Batches: a file of requests in, a file of answers out, with counts that move meanwhile."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask

from jobs.job import Outcome, Reason, Status
from jobs.ledger import Ledger, Limits
from jobs.scripts import PREFIX
from jobs.tenants import TenantLimits, Tenants
from tests.eventually import eventually
from tests.ledgers import FAILURE, claimed
from tests.unit.api.conftest import Caller, assert_problem
from tests.unit.api.openai.batching import (
    ENDPOINT,
    asks,
    batch_of,
    begin,
    feeder,
    jsonl,
    line,
    picture,
    questions,
    run,
    until,
    uploaded,
    work,
    written,
)

FIELDS = {
    *("id", "object", "endpoint", "errors", "input_file_id", "completion_window", "status"),
    *("output_file_id", "error_file_id", "created_at", "in_progress_at", "expires_at"),
    *("finalizing_at", "completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at"),
    *("request_counts", "usage", "metadata"),
}


def counts(batch: dict[str, Any]) -> tuple[int, int, int]:
    """Requests in all, answered and failed."""
    told = batch["request_counts"]
    return told["total"], told["completed"], told["failed"]


def ids(lines: list[dict[str, Any]]) -> set[str]:
    """The custom ids of lines, each of which is there once."""
    found = [each["custom_id"] for each in lines]
    assert len(found) == len(set(found))
    return set(found)


def test_each_line_is_answered_under_its_custom_id(app: Flask, api: Caller, books: Ledger) -> None:
    begun = begin(api, questions(picture(api), 5), metadata={"run": "nightly"})
    assert set(begun) == FIELDS
    assert (begun["object"], begun["status"], begun["endpoint"]) == (
        "batch",
        "validating",
        ENDPOINT,
    )
    assert begun["expires_at"] == begun["created_at"] + 86_400
    assert begun["metadata"] == {"run": "nightly"}
    ended = run(api, feeder(app), books, begun)
    assert ended["status"] == "completed"
    assert counts(ended) == (5, 5, 0)
    times = ("created_at", "in_progress_at", "finalizing_at", "completed_at")
    assert [ended[name] for name in times] == sorted(ended[name] for name in times)
    assert ended["error_file_id"] is None
    assert ended["usage"]["total_tokens"] == 50
    lines = written(api, ended["output_file_id"])
    assert ids(lines) == {f"n{i}" for i in range(5)}
    for each in lines:
        assert set(each) == {"id", "custom_id", "response", "error"}
        assert each["error"] is None
        assert each["id"].startswith("batch_req_")
        response = each["response"]
        assert response["status_code"] == 200
        assert response["request_id"] == response["body"]["id"]
        assert response["body"]["object"] == "chat.completion"
        text = response["body"]["choices"][0]["message"]["content"]
        assert text == f"What is {each['custom_id'][1:]}?"


def test_counts_move_and_answers_can_be_read_while_it_runs(
    app: Flask, api: Caller, books: Ledger
) -> None:
    begun, feeding = begin(api, questions(picture(api), 3)), feeder(app)
    until(api, feeding, begun, "in_progress")
    feeding.step()
    assert counts(batch_of(api, begun)) == (3, 0, 0)
    work(books, 2)

    def look() -> bool:
        feeding.step()
        return counts(batch_of(api, begun)) == (3, 2, 0)

    eventually(look, "two are counted")
    seen = batch_of(api, begun)
    assert seen["status"] == "in_progress"
    assert ids(written(api, seen["output_file_id"])) == {"n0", "n1"}


def test_no_more_jobs_are_out_at_once_than_may_be(app: Flask, api: Caller, books: Ledger) -> None:
    begun, feeding = begin(api, questions(picture(api), 12)), feeder(app, jobs=4)
    until(api, feeding, begun, "in_progress")
    most = 0
    while batch_of(api, begun)["status"] == "in_progress":
        feeding.step()
        most = max(most, sum(books.queued("demo").values()))
        work(books, 3)
    assert most == 4
    assert counts(run(api, feeding, books, begun)) == (12, 12, 0)


def test_jobs_of_a_batch_wait_behind_others_and_leave_nothing_but_their_lines(
    app: Flask, api: Caller, books: Ledger, client: Any
) -> None:
    begun, feeding = begin(api, questions(picture(api), 2)), feeder(app)
    until(api, feeding, begun, "in_progress")
    feeding.step()
    jobs = api("GET", f"/v1/jobs?group={begun['id']}").get_json()["data"]
    assert {job["priority"] for job in jobs} == {"low"}
    assert len(jobs) == 2
    ended = run(api, feeding, books, begun)
    assert api("GET", "/v1/jobs").get_json()["data"] == []
    assert api("GET", "/v1/events").get_json()["data"] == []
    for file_id in (ended["input_file_id"], ended["output_file_id"]):
        assert api("DELETE", f"/v1/files/{file_id}").get_json()["deleted"] is True
    kept = [key.decode() for key in client.keys(f"{PREFIX}*")]
    assert not [key for key in kept if ":job:" in key or "file" in key or "batch-" in key]


def test_what_cannot_be_asked_is_in_the_error_file_with_its_line(
    app: Flask, api: Caller, books: Ledger
) -> None:
    shown = picture(api)
    lines = [
        line("good", asks(shown, "What is it?")),
        line("unknown", asks(shown, "What is it?", logprobs=True)),
        b"",
        line("model", asks(shown, "What is it?", model="gpt-none")),
        line("stream", asks(shown, "What is it?", stream=True)),
        line("picture", asks("img_none", "What is it?")),
        line("long", asks(shown, "What is it?", max_completion_tokens=10**6)),
    ]
    ended = run(api, feeder(app), books, begin(api, jsonl(lines)))
    assert ended["status"] == "completed"
    assert counts(ended) == (6, 1, 5)
    assert ids(written(api, ended["output_file_id"])) == {"good"}
    refused = {each["custom_id"]: each for each in written(api, ended["error_file_id"])}
    told = {
        name: (
            each["line"],
            each["response"]["status_code"],
            _error(each)["code"],
            _error(each)["param"],
        )
        for name, each in refused.items()
    }
    assert told == {
        "unknown": (2, 400, "unknown_field", "logprobs"),
        "model": (4, 404, "model_not_found", "model"),
        "stream": (5, 400, "invalid_field", "stream"),
        "picture": (6, 400, "image_not_found", "messages"),
        "long": (7, 400, "invalid_field", "max_completion_tokens"),
    }
    assert all(each["error"] is None for each in refused.values())


def _status(each: dict[str, Any]) -> int:
    return int(each["response"]["status_code"])


def _error(each: dict[str, Any]) -> dict[str, Any]:
    error: dict[str, Any] = each["response"]["body"]["error"]
    return error


def test_what_fails_is_in_the_error_file(app: Flask, api: Caller, books: Ledger) -> None:
    begun, feeding = begin(api, questions(picture(api), 3)), feeder(app)
    until(api, feeding, begun, "in_progress")
    feeding.step()
    books.finish(claimed(books), Outcome(Status.FAILED, Reason.ERROR, error=FAILURE))
    running = claimed(books)
    books.cancel("acme", running.job.id)
    books.finish(running, Outcome(Status.CANCELED))
    api("DELETE", f"/v1/jobs/{claimed(books).job.id}")
    ended = run(api, feeding, books, begun)
    assert (ended["status"], counts(ended)) == ("completed", (3, 0, 3))
    first, second, third = sorted(written(api, ended["error_file_id"]), key=lambda e: e["line"])
    assert first["response"]["status_code"] == 500
    assert _error(first)["code"] == FAILURE["code"]
    assert second["response"]["status_code"] == 409
    assert (third["response"], third["error"]["code"]) == (None, "job_erased")


@pytest.mark.parametrize(
    ("lines", "code", "number", "param"),
    [
        ([b"{"], "invalid_json_line", 1, None),
        ([b'"text"'], "invalid_json_line", 1, None),
        ([b"", b'{"a": "\xff"}'], "invalid_json_line", 2, None),
        ([{"method": "POST"}], "missing_required_parameter", 1, "custom_id"),
        ([line("a", "text")], "invalid_field", 1, "body"),
        ([line("", {})], "invalid_field", 1, "custom_id"),
        ([line("a", {}, url="/v1/embeddings")], "invalid_url", 1, "url"),
        ([line("a", {}, method="GET")], "invalid_method", 1, "method"),
        ([line("a", {}), line("b", {}), line("a", {})], "duplicate_custom_id", 3, "custom_id"),
        ([], "empty_file", None, None),
        ([b"", b" "], "empty_file", None, None),
        ([b"x" * 2_200_000], "line_too_large", 1, None),
        ([b"", b"x" * 2_200_000], "line_too_large", 2, None),
    ],
)
def test_an_input_that_is_no_batch_fails_before_any_of_it_is_run(
    app: Flask,
    api: Caller,
    books: Ledger,
    lines: list[Any],
    code: str,
    number: int | None,
    param: str | None,
) -> None:
    ended = until(api, feeder(app), begin(api, jsonl(lines)), "failed")
    [told] = ended["errors"]["data"]
    assert (told["code"], told["line"], told["param"]) == (code, number, param)
    assert told["message"]
    assert ended["failed_at"] >= ended["created_at"]
    assert ended["in_progress_at"] is None
    assert books.queued("demo") == {}


def test_fifty_thousand_lines_are_a_batch_and_one_more_is_none(app: Flask, api: Caller) -> None:
    lines = jsonl(line(f"n{i}", {}) for i in range(50_000))
    seen = until(api, feeder(app), begin(api, lines), "in_progress")
    assert counts(seen)[0] == 50_000
    more = begin(api, lines + jsonl([line("n50000", {})]))
    ended = until(api, feeder(app), more, "failed")
    assert [told["code"] for told in ended["errors"]["data"]] == ["too_many_tasks"]


def test_cancelling_keeps_what_is_answered_and_runs_nothing_more(
    app: Flask, api: Caller, books: Ledger
) -> None:
    begun, feeding = begin(api, questions(picture(api), 200)), feeder(app, jobs=6)
    until(api, feeding, begun, "in_progress")
    feeding.step()
    work(books, 2)
    running = claimed(books)
    cancelled = api("POST", f"/v1/batches/{begun['id']}/cancel").get_json()
    assert cancelled["status"] == "cancelling"
    assert cancelled["cancelling_at"]
    assert books.claim("demo", "w1") is None
    feeding.step()
    assert batch_of(api, begun)["status"] == "cancelling"
    books.finish(running, Outcome(Status.CANCELED))
    ended = until(api, feeding, begun, "cancelled")
    assert ended["cancelled_at"]
    assert counts(ended) == (200, 2, 198)
    assert ids(written(api, ended["output_file_id"])) == {"n0", "n1"}
    left = written(api, ended["error_file_id"])
    assert ids(left) == {f"n{i}" for i in range(2, 200)}
    assert {each["error"]["code"] for each in left} == {"batch_cancelled"}
    again = api("POST", f"/v1/batches/{begun['id']}/cancel")
    assert (again.status_code, again.get_json()["status"]) == (200, "cancelled")


def test_a_batch_that_is_cancelled_before_it_was_looked_through_has_no_lines(
    app: Flask, api: Caller
) -> None:
    begun = begin(api, questions("img_none", 2))
    api("POST", f"/v1/batches/{begun['id']}/cancel")
    ended = until(api, feeder(app), begun, "cancelled")
    assert counts(ended) == (0, 0, 0)
    assert ended["output_file_id"] is ended["error_file_id"] is None


def test_what_a_batch_wrote_goes_with_it(
    app: Flask, api: Caller, books: Ledger, client: Any
) -> None:
    lines = jsonl([line("a", asks(picture(api), "What is it?")), line("b", {"model": "demo"})])
    wanted = {"anchor": "created_at", "seconds": 3_600}
    begun = begin(api, lines, output_expires_after=wanted)
    ended = run(api, feeder(app), books, begun)
    for name in ("output_file_id", "error_file_id"):
        file = api("GET", f"/v1/files/{ended[name]}").get_json()
        assert 0 <= file["expires_at"] - ended["completed_at"] - 3_600 <= 1
        assert file["purpose"] == "batch_output"
        lives = [client.pttl(key) for key in client.keys(f"{PREFIX}file:acme:{ended[name]}*")]
        assert len(lives) == 2
        assert all(3_500_000 < life <= 3_600_000 for life in lives)
    assert 3_500_000 < client.pttl(f"{PREFIX}batch:{begun['id']}") <= 3_600_000


def test_what_has_ended_cannot_be_cancelled(app: Flask, api: Caller, books: Ledger) -> None:
    begun = begin(api, questions(picture(api), 1))
    run(api, feeder(app), books, begun)
    response = api("POST", f"/v1/batches/{begun['id']}/cancel")
    assert_problem(response, 409, "batch_not_cancellable")
    assert response.headers["x-should-retry"] == "false"


def test_a_batch_whose_window_is_over_is_run_no_further(
    app: Flask, api: Caller, books: Ledger, client: Any
) -> None:
    begun, feeding = begin(api, questions(picture(api), 5)), feeder(app, jobs=3)
    until(api, feeding, begun, "in_progress")
    feeding.step()
    work(books, 1)
    client.hset(f"{PREFIX}batch:{begun['id']}", "expires", begun["created_at"] * 1000)
    ended = until(api, feeding, begun, "expired")
    assert ended["expired_at"]
    assert counts(ended) == (5, 1, 4)
    left = written(api, ended["error_file_id"])
    assert {each["error"]["code"] for each in left} == {"batch_expired"}


def test_a_batch_that_is_all_written_when_its_window_is_over_is_complete(
    app: Flask, api: Caller, books: Ledger, client: Any
) -> None:
    begun, feeding = begin(api, questions(picture(api), 1)), feeder(app)
    until(api, feeding, begun, "in_progress")
    feeding.step()
    work(books)
    until(api, feeding, begun, "finalizing")
    client.hset(f"{PREFIX}batch:{begun['id']}", "expires", begun["created_at"] * 1000)
    until(api, feeding, begun, "completed")


def test_a_batch_whose_input_cannot_be_read_any_more_fails_and_keeps_its_answers(
    app: Flask, api: Caller, books: Ledger, client: Any
) -> None:
    begun, feeding = begin(api, questions(picture(api), 3)), feeder(app, jobs=1)
    until(api, feeding, begun, "in_progress")
    feeding.step()
    work(books)
    client.setrange(f"{PREFIX}file:acme:{begun['input_file_id']}:0", 0, b"x" * 1000)
    ended = until(api, feeding, begun, "failed")
    [told] = ended["errors"]["data"]
    assert (told["code"], told["line"]) == ("invalid_json_line", None)
    assert ids(written(api, ended["output_file_id"])) == {"n0"}
    other = begin(api, questions(picture(api), 1))
    client.delete(f"{PREFIX}file:acme:{other['input_file_id']}")
    [told] = until(api, feeding, other, "failed")["errors"]["data"]
    assert told["code"] == "file_not_found"


def test_a_batch_waits_where_its_tenants_queue_is_full(
    app: Flask, api: Caller, books: Ledger, client: Any
) -> None:
    Tenants(client).set_limits("acme", TenantLimits(queued_jobs=2))
    begun, feeding = begin(api, questions(picture(api), 5)), feeder(app)
    until(api, feeding, begun, "in_progress")
    feeding.step()
    assert sum(books.queued("demo").values()) == 2
    assert counts(run(api, feeding, books, begun)) == (5, 5, 0)


def test_answers_are_not_swept_away_before_they_are_written(
    app: Flask, api: Caller, client: Any
) -> None:
    begun, feeding = begin(api, questions(picture(api), 2)), feeder(app)
    until(api, feeding, begun, "in_progress")
    feeding.step()
    hasty = Ledger(client, Limits(retention=0))
    for key in client.keys(f"{PREFIX}job:*"):
        client.hset(key, "retention", 0)
    assert work(hasty) == 2
    hasty.sweep()
    assert counts(run(api, feeding, hasty, begun)) == (2, 2, 0)


def test_lines_that_ask_the_same_share_one_run(app: Flask, api: Caller, books: Ledger) -> None:
    shown = picture(api)
    begun = begin(api, jsonl(line(f"n{i}", asks(shown, "What is it?")) for i in range(10)))
    feeding, runs = feeder(app), 0
    until(api, feeding, begun, "in_progress")
    while batch_of(api, begun)["status"] != "completed":
        feeding.step()
        runs += work(books)
    assert runs == 1
    assert counts(batch_of(api, begun)) == (10, 10, 0)


def test_files_of_a_batch_that_has_not_ended_cannot_be_erased(
    app: Flask, api: Caller, books: Ledger
) -> None:
    begun, feeding = begin(api, questions(picture(api), 2)), feeder(app)
    until(api, feeding, begun, "in_progress")
    feeding.step()
    work(books, 1)
    eventually(lambda: feeding.step() and batch_of(api, begun)["output_file_id"], "it is written")
    for name in ("input_file_id", "output_file_id"):
        response = api("DELETE", f"/v1/files/{batch_of(api, begun)[name]}")
        assert_problem(response, 409, "file_in_use")


def test_an_erased_batch_is_gone_with_what_it_wrote_and_its_input_stays(
    app: Flask, api: Caller, books: Ledger
) -> None:
    lines = jsonl([line("a", asks(picture(api), "What is it?")), line("b", {"model": "demo"})])
    other, begun = begin(api, b"{}\n"), begin(api, lines, metadata={"ticket": "4711"})
    ended = run(api, feeder(app), books, begun)
    path = f"/v1/batches/{begun['id']}"
    response = api("DELETE", path)
    assert (response.status_code, response.data) == (204, b"")
    for method in ("GET", "DELETE"):
        assert_problem(api(method, path), 404, "batch_not_found")
    for name in ("output_file_id", "error_file_id"):
        assert_problem(api("GET", f"/v1/files/{ended[name]}"), 404, "file_not_found")
    assert api("GET", f"/v1/files/{ended['input_file_id']}/content").data == lines
    assert [each["id"] for each in api("GET", "/v1/batches").get_json()["data"]] == [other["id"]]


def test_a_batch_is_cancelled_before_it_is_erased(app: Flask, api: Caller, books: Ledger) -> None:
    begun, feeding = begin(api, questions(picture(api), 2)), feeder(app)
    until(api, feeding, begun, "in_progress")
    path = f"/v1/batches/{begun['id']}"
    response = api("DELETE", path)
    assert_problem(response, 409, "batch_open")
    assert response.headers["x-should-retry"] == "false"
    assert api("POST", f"{path}/cancel").status_code == 200
    assert_problem(api("DELETE", path), 409, "batch_open")
    until(api, feeding, begun, "cancelled")
    assert api("DELETE", path).status_code == 204


def test_batches_are_listed_newest_first(api: Caller) -> None:
    begun = [begin(api, b"{}\n")["id"] for _ in range(3)]
    first = api("GET", "/v1/batches?limit=2").get_json()
    assert ([each["id"] for each in first["data"]], first["has_more"]) == (begun[:0:-1], True)
    rest = api("GET", f"/v1/batches?limit=2&after={first['last_id']}").get_json()
    assert ([each["id"] for each in rest["data"]], rest["has_more"]) == (begun[:1], False)
    assert_problem(api("GET", "/v1/batches?after=batch_none"), 400, "cursor_expired")


def test_another_tenants_batch_and_file_are_none(api: Caller, stranger: Caller) -> None:
    begun = begin(api, b"{}\n")
    assert_problem(stranger("GET", f"/v1/batches/{begun['id']}"), 404, "batch_not_found")
    assert_problem(stranger("POST", f"/v1/batches/{begun['id']}/cancel"), 404, "batch_not_found")
    assert batch_of(api, begun)["status"] == "validating"
    asked = {"input_file_id": begun["input_file_id"], "endpoint": ENDPOINT}
    response = stranger("POST", "/v1/batches", json={**asked, "completion_window": "24h"})
    assert_problem(response, 400, "file_not_found")
    assert stranger("GET", "/v1/batches").get_json()["data"] == []


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"endpoint": "/v1/embeddings"}, "invalid_field", "endpoint"),
        ({"completion_window": "1h"}, "invalid_field", "completion_window"),
        ({"input_file_id": "file-none"}, "file_not_found", "input_file_id"),
        ({"metadata": {"k": "v" * 513}}, "invalid_field", "metadata.k"),
        ({"metadata": {str(i): "" for i in range(17)}}, "invalid_field", "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "invalid_field", None),
    ],
)
def test_a_batch_that_cannot_be_is_refused(
    api: Caller, change: dict[str, Any], code: str, param: str | None
) -> None:
    asked = {"input_file_id": uploaded(api, b"{}\n"), "endpoint": ENDPOINT}
    response = api("POST", "/v1/batches", json={**asked, "completion_window": "24h", **change})
    told = assert_problem(response, 400, code)
    assert param in (None, told["error"]["param"])


def test_no_text_of_a_batch_is_in_a_log(
    app: Flask, api: Caller, books: Ledger, capfd: pytest.CaptureFixture[str]
) -> None:
    canary = "canary-4711"
    lines = [line("a", asks(picture(api), canary)), line("b", {"model": canary})]
    run(api, feeder(app), books, begin(api, jsonl(lines)))
    assert canary not in json.dumps(capfd.readouterr())
