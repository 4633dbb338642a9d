"""Files: kept in parts, of their tenant alone, for a while, and never whole in memory."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from jobs.files import PART_BYTES
from jobs.memory import FULL
from jobs.scripts import PREFIX
from tests.unit.api.conftest import MAX_FILE_BYTES, Caller, assert_problem
from tests.unit.api.openai.batching import form, upload, uploaded

LINES = b'{"a": 1}\n' * 3


def content(api: Caller, file_id: str) -> bytes:
    """What a file holds."""
    response = api("GET", f"/v1/files/{file_id}/content")
    assert response.status_code == 200
    return bytes(response.data)


def parts(client: Any) -> int:
    """How many keys of files there are."""
    return len(client.keys(f"{PREFIX}file:*"))


def test_a_file_comes_back_as_it_was_sent(api: Caller) -> None:
    response = upload(api, LINES)
    assert response.status_code == 200
    made = response.get_json()
    assert made == {
        "id": made["id"],
        "object": "file",
        "bytes": len(LINES),
        "created_at": made["created_at"],
        "expires_at": made["created_at"] + 7 * 86_400,
        "filename": "lines.jsonl",
        "purpose": "batch",
        "status": "processed",
    }
    assert made["id"].startswith("file_")
    assert api("GET", f"/v1/files/{made['id']}").get_json() == made
    assert content(api, made["id"]) == LINES


@pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2_500_000])
def test_a_file_of_any_size_is_kept_in_parts(api: Caller, client: Any, size: int) -> None:
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    assert content(api, uploaded(api, data)) == data
    assert parts(client) == 1 + -(-size // PART_BYTES)


def test_a_file_goes_when_its_time_is_over(api: Caller, client: Any) -> None:
    wanted = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    made = upload(api, LINES, **wanted).get_json()
    assert made["expires_at"] == made["created_at"] + 3600
    lives = [client.pttl(key) for key in client.keys(f"{PREFIX}file:*")]
    assert len(lives) == 2
    assert all(3_500_000 < life <= 3_600_000 for life in lives)


def test_an_erased_file_leaves_nothing(api: Caller, client: Any) -> None:
    file_id = uploaded(api, LINES * 200_000)
    assert parts(client) > 5
    told = api("DELETE", f"/v1/files/{file_id}").get_json()
    assert told == {"id": file_id, "object": "file", "deleted": True}
    assert parts(client) == client.exists(f"{PREFIX}files:acme") == 0
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        assert_problem(api(method, f"/v1/files/{file_id}{path}"), 404, "file_not_found")


def test_another_tenants_file_is_none(api: Caller, stranger: Caller) -> None:
    file_id = uploaded(api, LINES)
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        assert_problem(stranger(method, f"/v1/files/{file_id}{path}"), 404, "file_not_found")
    assert stranger("GET", "/v1/files").get_json()["data"] == []
    assert content(api, file_id) == LINES


def test_files_are_listed_in_either_order_a_page_at_a_time(api: Caller, client: Any) -> None:
    ids = [uploaded(api, LINES) for _ in range(4)]
    api("DELETE", f"/v1/files/{ids[1]}")
    client.delete(f"{PREFIX}file:acme:{ids[2]}")  # its time is over
    newest = api("GET", "/v1/files").get_json()
    assert [file["id"] for file in newest["data"]] == [ids[3], ids[0]]
    assert newest["has_more"] is False
    first = api("GET", "/v1/files?order=asc&limit=1").get_json()
    assert (first["last_id"], first["has_more"]) == (ids[0], True)
    rest = api("GET", f"/v1/files?order=asc&limit=1&after={ids[0]}").get_json()
    assert (rest["first_id"], rest["has_more"]) == (ids[3], False)
    assert api("GET", "/v1/files?purpose=batch_output").get_json()["data"] == []


def test_a_large_file_is_never_whole_in_memory(api: Caller) -> None:
    sent = form(b"x" * (20 * 1024 * 1024))
    tracemalloc.start()
    try:
        made = api("POST", "/v1/files", **sent).get_json()
        _, most_in = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        response = api.http.get(
            f"/v1/files/{made['id']}/content", headers={"Authorization": f"Bearer {api.key}"}
        )
        got: Iterator[bytes] = response.iter_encoded()
        size = sum(map(len, got))
        response.close()
        _, most_out = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size == made["bytes"] == 20 * 1024 * 1024
    assert most_in < 6 * PART_BYTES
    assert most_out < 6 * PART_BYTES


def test_a_file_that_is_too_large_is_refused_and_leaves_nothing(api: Caller, client: Any) -> None:
    response = upload(api, b"x" * (MAX_FILE_BYTES + 1))
    assert_problem(response, 413, "file_too_large")
    assert parts(client) == 0
    assert_problem(upload(api, b"x" * (MAX_FILE_BYTES + 200_000)), 413, "file_too_large")


LEAST_BYTES = 512
"""What a small file counts for."""


def test_a_tenants_files_have_a_limit_together(api: Caller, client: Any, app: Any) -> None:
    files = app.extensions["services"].files
    before, files._most_of_tenant = files._most_of_tenant, 2 * LEAST_BYTES
    try:
        first = uploaded(api, LINES)
        uploaded(api, LINES)
        assert_problem(upload(api, b"x"), 400, "files_full")
        api("DELETE", f"/v1/files/{first}")
        uploaded(api, LINES)
    finally:
        files._most_of_tenant = before


def test_nothing_is_kept_where_the_stores_memory_is_full(api: Caller, client: Any) -> None:
    client.set(FULL, 1)
    assert_problem(upload(api, LINES), 503, "ledger_full")
    assert parts(client) == 0


@pytest.mark.parametrize(
    ("data", "status", "code", "param"),
    [
        (b"--b\r\n", 400, "malformed_request", None),
        (b"", 400, "missing_field", "purpose"),
        (form(LINES)["data"][:-30], 400, "malformed_request", None),
        (form(LINES, purpose="fine-tune")["data"], 400, "invalid_field", "purpose"),
        (form(LINES, colour="red")["data"], 400, "unknown_field", "colour"),
        (form(LINES)["data"].replace(b'"file"', b'"image"'), 400, "unknown_field", "image"),
        (form(LINES)["data"].replace(b'"purpose"', b'"expires_after[seconds]"'), 400, None, None),
        (form(LINES)["data"].replace(b'; filename="lines.jsonl"', b""), 400, None, "file"),
        (form(LINES)["data"][:-7] + b"\r\n" + form(LINES)["data"], 400, "invalid_field", "file"),
        (form(LINES, purpose="x" * 300_000)["data"], 413, "body_too_large", None),
    ],
)
def test_a_form_that_is_no_file_is_refused_and_leaves_nothing(
    api: Caller, client: Any, data: bytes, status: int, code: str | None, param: str | None
) -> None:
    response = api("POST", "/v1/files", data=data, content_type="multipart/form-data; boundary=b")
    found = json.loads(response.text)["error"]
    told = assert_problem(response, status, code or found["code"])
    assert param in (None, told["error"]["param"])
    assert parts(client) == 0


def test_something_else_than_a_form_is_refused(api: Caller) -> None:
    assert_problem(api("POST", "/v1/files", json={}), 415, "unsupported_media_type")
