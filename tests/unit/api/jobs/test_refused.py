"""What is wrong with a request is a specific 4xx with a stable code, and stores nothing."""

import base64
import io
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from pydantic import SecretStr

from api import create_app
from jobs.settings import Settings
from llava_jobs.embedded import EmbeddedStore
from tests.ledgers import everything
from tests.unit.api.conftest import (
    DATA_URI,
    MAX_BODY_BYTES,
    PNG,
    QUESTION,
    Caller,
    assert_problem,
    body,
)
from tests.unit.api.forms import MIME, written
from tests.unit.api.pictures import chunk

Refusal = tuple[int, str, str | None]
NESTED = "[" * 100_000 + "]" * 100_000


def uri(data: bytes) -> str:
    """Bytes as the data URI of a picture."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def shows(url: str) -> list[dict[str, Any]]:
    """A conversation that shows a picture."""
    return [{"role": "user", "content": [text(), {"type": "image_url", "image_url": {"url": url}}]}]


def text(value: str = QUESTION) -> dict[str, str]:
    """A content part with a text."""
    return {"type": "text", "text": value}


def bomb() -> bytes:
    """13,000 x 13,000 one-bit pixels in some twenty thousand bytes."""
    side = 13_000
    packer = zlib.compressobj(9)
    row = b"\0" * (1 + (side + 7) // 8)
    pixels = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack("!IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in chunks)


PICTURES: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "a text": (lambda: b"I am no picture", 415, "image_unsupported"),
    "an svg": (lambda: b"<svg xmlns='x'/>", 415, "image_unsupported"),
    "truncated": (lambda: PNG[: len(PNG) // 2], 422, "image_truncated"),
    "a bomb": (bomb, 422, "image_too_large"),
    "empty": (lambda: b"", 400, "image_empty"),
}

BODIES: dict[str, tuple[dict[str, Any], Refusal]] = {
    "no question": ({"question": ...}, (422, "question_missing", None)),
    "null question": ({"question": None}, (422, "question_missing", None)),
    "empty question": ({"question": ""}, (422, "invalid_field", "question")),
    "blank question": ({"question": " \n\t"}, (422, "invalid_field", "question")),
    "NUL in the question": ({"question": "a\0b"}, (422, "invalid_field", "question")),
    "number for a question": ({"question": 5}, (422, "invalid_field", "question")),
    "long question": ({"question": "x" * 8_001}, (422, "question_too_long", "question")),
    "no images": ({"images": ...}, (422, "image_missing", None)),
    "empty images": ({"images": []}, (422, "image_missing", None)),
    "images no list": ({"images": {"data": DATA_URI}}, (422, "invalid_field", "images")),
    "image without data": ({"images": [{}]}, (422, "missing_field", "images.0")),
    "nine images": ({"images": [{"data": DATA_URI}] * 9}, (422, "too_many_images", "images")),
    "image by URL": (
        {"images": [{"data": "https://example.org/a.png"}]},
        (422, "image_url_off", "images"),
    ),
    "no job before": (
        {"previous_job_id": "job_1"},
        (422, "previous_job_not_found", "previous_job_id"),
    ),
    "unknown field": ({"questoin": "x"}, (422, "unknown_field", "questoin")),
    "unknown field of an image": (
        {"images": [{"data": DATA_URI, "x": 1}]},
        (422, "unknown_field", "images.0.x"),
    ),
    "unknown model": ({"model": "gpt-4"}, (422, "model_not_found", "model")),
    "empty model": ({"model": ""}, (422, "invalid_field", "model")),
    "no tokens": ({"max_new_tokens": 0}, (422, "invalid_field", "max_new_tokens")),
    "too many tokens": ({"max_new_tokens": 4_097}, (422, "invalid_field", "max_new_tokens")),
    "half a token": ({"max_new_tokens": 1.5}, (422, "invalid_field", "max_new_tokens")),
    "tokens as text": ({"max_new_tokens": "5"}, (422, "invalid_field", "max_new_tokens")),
    "tokens as truth": ({"max_new_tokens": True}, (422, "invalid_field", "max_new_tokens")),
    "huge tokens": ({"max_new_tokens": 10**400}, (422, "invalid_field", "max_new_tokens")),
    "too hot": ({"temperature": 2.1}, (422, "invalid_field", "temperature")),
    "too cold": ({"temperature": -0.1}, (422, "invalid_field", "temperature")),
    "huge temperature": ({"temperature": 10**400}, (422, "invalid_field", "temperature")),
    "no top_p": ({"top_p": 0}, (422, "invalid_field", "top_p")),
    "negative top_k": ({"top_k": -1}, (422, "invalid_field", "top_k")),
    "half a top_k": ({"top_k": 1.5}, (422, "invalid_field", "top_k")),
    "huge top_k": ({"top_k": 2**31}, (422, "invalid_field", "top_k")),
    "negative seed": ({"seed": -1}, (422, "invalid_field", "seed")),
    "huge seed": ({"seed": 2**32}, (422, "invalid_field", "seed")),
    "seed as text": ({"seed": "7"}, (422, "invalid_field", "seed")),
    "empty stop": ({"stop": ""}, (422, "invalid_field", "stop.0")),
    "long stop": ({"stop": ["a", "x" * 65]}, (422, "invalid_field", "stop.1")),
    "five stops": ({"stop": ["x"] * 5}, (422, "invalid_field", "stop")),
    "number for a stop": ({"stop": 5}, (422, "invalid_field", "stop")),
    "low detail of our own": (
        {"images": [{"data": DATA_URI, "detail": "low"}]},
        (422, "invalid_field", "images.0.detail"),
    ),
    "detail outside of a picture": ({"detail": "high"}, (422, "unknown_field", "detail")),
    "unknown priority": ({"priority": "urgent"}, (422, "invalid_field", "priority")),
    "number for a priority": ({"priority": 1}, (422, "invalid_field", "priority")),
    "deadline of no form": ({"deadline": "soon"}, (422, "invalid_field", "deadline")),
    "negative deadline": ({"deadline": "-1s"}, (422, "invalid_field", "deadline")),
    "Arabic digits": ({"deadline": "٣s"}, (422, "invalid_field", "deadline")),
    "no time at all": ({"deadline": "0s"}, (422, "invalid_field", "deadline")),
    "cache as text": ({"cache": "false"}, (422, "invalid_field", "cache")),
    "empty group": ({"group": ""}, (422, "invalid_field", "group")),
    "a dot for a group": ({"group": "."}, (422, "invalid_field", "group")),
    "two dots for a group": ({"group": ".."}, (422, "invalid_field", "group")),
    "long group": ({"group": "g" * 201}, (422, "invalid_field", "group")),
    "metadata no object": ({"metadata": [1]}, (422, "invalid_field", "metadata")),
    "long metadata": ({"metadata": {"a": "x" * 17_000}}, (422, "invalid_field", "metadata")),
    "question and messages": ({"messages": shows(DATA_URI)}, (422, "conflicting_fields", None)),
}

MESSAGES: dict[str, tuple[Any, Refusal]] = {
    "none": ([], (422, "question_missing", None)),
    "no list": ("hello", (422, "invalid_field", "messages")),
    "no picture": ([{"role": "user", "content": "hello"}], (422, "image_missing", None)),
    "assistant last": (
        [*shows(DATA_URI), {"role": "assistant", "content": "E42"}],
        (422, "question_missing", None),
    ),
    "unknown role": ([{"role": "tool", "content": "x"}], (422, "invalid_field", "messages.0.role")),
    "no role": ([{"content": "x"}], (422, "missing_field", "messages.0.role")),
    "URL": (shows("https://example.org/a.png"), (422, "image_url_off", "images")),
}


@pytest.fixture
def refused(api: Caller, client: Any) -> Callable[..., None]:
    """Posts a job and holds the answer to a refusal, and the store to what it held before."""

    def check(refusal: Refusal, **request: Any) -> None:
        before = everything(client)
        response = api("POST", "/v1/jobs", **request)
        status, code, param = refusal
        told = assert_problem(response, status, code)
        assert told["error"]["param"] == param
        assert everything(client) == before

    return check


@pytest.mark.parametrize("case", PICTURES)
@pytest.mark.parametrize("way", ["json", "messages", "multipart"])
def test_a_picture_that_cannot_be_taken(refused: Callable[..., None], case: str, way: str) -> None:
    make, status, code = PICTURES[case]
    refusal = (status, code, "image")
    if way == "json":
        refused(refusal, json=body(images=[{"data": uri(make())}]))
    elif way == "messages":
        refused(refusal, json={"messages": shows(uri(make()))})
    else:
        form = written({"question": QUESTION, "image": ("picture.png", make())})
        refused(refusal, data=form, content_type=MIME)


def test_of_two_pictures_the_good_one_is_not_stored_either(refused: Callable[..., None]) -> None:
    images = [{"data": DATA_URI}, {"data": uri(b"I am no picture")}]
    refused((415, "image_unsupported", "image"), json=body(images=images))


@pytest.mark.parametrize("case", BODIES)
def test_a_body_that_is_wrong_somewhere(refused: Callable[..., None], case: str) -> None:
    changes, refusal = BODIES[case]
    refused(refusal, json=body(**changes))


@pytest.mark.parametrize("case", MESSAGES)
def test_a_conversation_that_is_wrong_somewhere(refused: Callable[..., None], case: str) -> None:
    messages, refusal = MESSAGES[case]
    refused(refusal, json={"messages": messages})


@pytest.mark.parametrize(
    "data",
    [
        "data:image/png;base64,",
        "data:image/png;base64,====",
        "data:image/png;base64," + base64.b64encode(PNG).decode().rstrip("=")[:-1],
        "data:image/png;base64, " + base64.b64encode(PNG).decode(),
        DATA_URI + "\n",
        DATA_URI[:40] + "\n" + DATA_URI[40:],
        DATA_URI + "!",
        DATA_URI.replace(";base64", ""),
        DATA_URI.replace("image/png", "text/html"),
        base64.urlsafe_b64encode(b"\xfb\xef\xff" * 3).decode(),
        "ü",
        "file:///etc/passwd",
        "ftp://example.org/a.png",
        "",
    ],
)
def test_base64_that_is_not_strict(api: Caller, client: Any, data: str) -> None:
    before = everything(client)
    response = api.create(images=[{"data": data}])
    if data in ("", "data:image/png;base64,"):
        assert_problem(response, 400, "image_empty")
    else:
        assert_problem(response, 422, "invalid_base64")
    assert everything(client) == before


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", "malformed_json"),
        (b"{", "malformed_json"),
        (b"{'question': 1}", "malformed_json"),
        (b'{"question": "a" "b"}', "malformed_json"),
        (b'{"question": "\xff"}', "malformed_json"),
        (b"\xef\xbb\xbf{}", "malformed_json"),
        (b"\0", "malformed_json"),
        (b'{"temperature": NaN}', "malformed_json"),
        (b'{"temperature": -Infinity}', "malformed_json"),
        (b'{"question": "\\ud800"}', "malformed_json"),
        (b'{"metadata": {"\\udfff": 1}}', "malformed_json"),
        (b'{"max_new_tokens": ' + b"9" * 5_000 + b"}", "malformed_json"),
        (NESTED.encode(), "malformed_json"),
        (f'{{"metadata": {{"a": {NESTED}}}}}'.encode(), "malformed_json"),
        (b"[]", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"null", "not_an_object"),
        (b"5", "not_an_object"),
    ],
    ids=lambda value: value[:30] if isinstance(value, bytes) else value,
)
def test_a_body_that_is_no_json_object(
    refused: Callable[..., None], text: bytes, code: str
) -> None:
    refused((400, code, None), data=text, content_type="application/json")


@pytest.mark.parametrize("number", ["1e400", "-1e400"])
@pytest.mark.parametrize("field", ["temperature", "top_p", "metadata"])
def test_a_number_beyond_all_bounds_is_refused(
    api: Caller, client: Any, field: str, number: str
) -> None:
    before = everything(client)
    value = f'{{"a": {number}}}' if field == "metadata" else number
    text = json.dumps(body(**{field: "HERE"})).replace('"HERE"', value)
    response = api("POST", "/v1/jobs", data=text, content_type="application/json")
    assert response.status_code in (400, 422), response.text
    assert everything(client) == before


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_an_idempotency_key_of_no_use(refused: Callable[..., None], key: str) -> None:
    refused(
        (422, "invalid_field", "Idempotency-Key"), json=body(), headers={"Idempotency-Key": key}
    )


def form(*fields: tuple[str, str], files: int = 1) -> dict[str, Any]:
    """A multipart body of fields and of pictures."""
    parts = b"".join(
        f'--X\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields
    )
    head = 'Content-Disposition: form-data; name="image"; filename="a.png"'
    parts += (f"--X\r\n{head}\r\n\r\n".encode() + PNG + b"\r\n") * files
    return {"data": parts + b"--X--\r\n", "content_type": "multipart/form-data; boundary=X"}


FORMS: dict[str, tuple[list[tuple[str, str]], Refusal]] = {
    "no question": ([], (422, "question_missing", None)),
    "two questions": (
        [("question", "a"), ("question", "b")],
        (422, "invalid_field", "question"),
    ),
    "unknown field": ([("question", "a"), ("x", "b")], (422, "unknown_field", "x")),
    "images as a field": ([("question", "a"), ("images", "[]")], (422, "invalid_field", "images")),
    "metadata no JSON": (
        [("question", "a"), ("metadata", "{")],
        (422, "malformed_json", "metadata"),
    ),
    "NaN in metadata": (
        [("question", "a"), ("metadata", '{"a": NaN}')],
        (422, "malformed_json", "metadata"),
    ),
    "nested metadata": (
        [("question", "a"), ("metadata", NESTED)],
        (422, "malformed_json", "metadata"),
    ),
    "tokens no number": (
        [("question", "a"), ("max_new_tokens", "many")],
        (422, "invalid_field", "max_new_tokens"),
    ),
    "2,000 parts": ([("question", "a")] * 2_000, (413, "body_too_large", None)),
    "one part too long": ([("question", "a" * 600_000)], (413, "body_too_large", None)),
}


@pytest.mark.parametrize("case", FORMS)
def test_a_form_that_is_wrong_somewhere(refused: Callable[..., None], case: str) -> None:
    fields, refusal = FORMS[case]
    refused(refusal, **form(*fields))


def test_a_form_without_a_picture(refused: Callable[..., None]) -> None:
    refused((422, "image_missing", None), **form(("question", "a"), files=0))


def test_a_form_with_a_file_of_another_name(refused: Callable[..., None]) -> None:
    data = {"question": "a", "picture": (io.BytesIO(PNG), "a.png")}
    refused((422, "unknown_field", "picture"), data=data)


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        ("multipart/form-data", b"--X\r\n"),
        ("multipart/form-data; boundary=", b"--\r\n"),
        ("multipart/form-data; boundary=X", b"no boundary here"),
        ("multipart/form-data; boundary=X", b"--X\r\nContent-Disposition: form-data; name="),
        ("multipart/form-data; boundary=X", b""),
        ("application/json; charset=\xff", b"{}"),
    ],
)
def test_a_form_that_cannot_be_read_is_a_4xx(
    api: Caller, client: Any, content_type: str, data: bytes
) -> None:
    before = everything(client)
    response = api("POST", "/v1/jobs", data=data, content_type=content_type)
    assert 400 <= response.status_code < 500
    assert everything(client) == before


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data; boundary=X"])
def test_a_chunked_body_that_does_not_end_is_cut_off(
    api: Caller, client: Any, content_type: str
) -> None:
    before = everything(client)

    class Endless(io.RawIOBase):
        """A body without a length that goes on for ever."""

        sent = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            data = (b" " if self.sent else b"--X\r\n").ljust(65_536)[: len(buffer)]
            buffer[: len(data)] = data
            self.sent += len(data)
            assert self.sent < 4 * MAX_BODY_BYTES, "it reads on and on"
            return len(data)

    response = api(
        "POST",
        "/v1/jobs",
        content_type=content_type,
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={
            "wsgi.input": io.BufferedReader(Endless()),
            "wsgi.input_terminated": True,
        },
    )
    assert_problem(response, 413, "body_too_large")
    assert everything(client) == before


def test_another_tenants_job_looks_like_none_at_all(api: Caller, stranger: Caller) -> None:
    job_id = api.submit()
    for method, suffix in (("GET", ""), ("POST", "/cancel")):
        theirs = stranger(method, f"/v1/jobs/{job_id}{suffix}")
        nobodys = stranger(method, f"/v1/jobs/job_{'0' * 32}{suffix}")
        told = [assert_problem(r, 404, "job_not_found") for r in (theirs, nobodys)]
        assert {**told[0], "instance": ""} == {**told[1], "instance": ""}
    assert api.job(job_id)["status"] == "queued"


@pytest.mark.parametrize(
    "job_id", ["x", "job_", "job_%00", "%F0%9F%99%82", "..%2f..", "job_*", "a" * 4_000, "%ff"]
)
def test_an_id_of_no_form_is_a_404(api: Caller, job_id: str) -> None:
    assert api("GET", f"/v1/jobs/{job_id}").status_code == 404


@pytest.fixture
def small(client: Any, store: EmbeddedStore, app: Flask) -> Any:
    """Makes a caller of an API with other settings."""
    from jobs.keys import Keys

    made = []

    def make(**settings: Any) -> Caller:
        other = create_app(Settings(redis_url=SecretStr(store.url), sweep_ms=3_600_000, **settings))
        made.append(other)
        return Caller(other.test_client(), Keys(client).create("acme"))

    yield make
    for other in made:
        other.extensions["running"].close()


def test_over_the_tenants_queue_limit_is_429_and_over_the_ledgers_503(small: Any) -> None:
    caller = small(tenant_queue_limit=1, queue_limit=1)
    caller.submit()
    assert_problem(caller.create(), 429, "tenant_queue_full")
    other = small(queue_limit=1)
    assert_problem(other.create(), 503, "ledger_full")


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (5, "messages.0.content"),
        (" ", "messages.0.content"),
        ([{"type": "text", "text": 5}], "messages.0.content.0.text.text"),
        ([{"type": "text", "text": "?", "a-b": 1}], "messages.0.content.0.text.a-b"),
    ],
)
def test_a_field_that_may_be_of_several_kinds_is_told_by_its_own_name(
    api: Caller, content: Any, param: str
) -> None:
    response = api.create(question=..., images=..., messages=[{"role": "user", "content": content}])
    assert response.json
    assert response.status_code == 422
    assert response.json["error"]["param"] == param
