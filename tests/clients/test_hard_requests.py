"""Requests as no decent client writes them: each is refused, and nothing else suffers."""

import base64
import contextlib
import gzip
import json
import os
from collections.abc import Callable

import httpx
import pytest

from api.server.request_buffer import FIRST_S
from tests.clients.wire import answer, connected, head, tell
from tests.eventually import eventually
from tests.installations import Installation
from tests.unit.api.pictures import encoded, scene

JSON = "Content-Type: application/json"
POST = "POST /v1/jobs HTTP/1.1"
SMUGGLED = b"GET /v1/models HTTP/1.1\r\nHost: inside\r\n\r\n"
DATA_URI = "data:image/png;base64," + base64.b64encode(encoded(scene(), "PNG")).decode()
SOUND = json.dumps({"question": "Which?", "images": [{"data": DATA_URI}], "max_new_tokens": 1})
DEEP = "[" * 50_000 + "]" * 50_000
MOST_BODY = 32 * 1024 * 1024


def with_field(text: str) -> bytes:
    """A sound body with a field more, written as it is."""
    return (SOUND[:-1] + "," + text + "}").encode()


def with_bytes(raw: bytes) -> bytes:
    """A sound body with a text of these bytes."""
    return with_field('"group": "HERE"').replace(b"HERE", raw)


BODIES: dict[str, tuple[bytes, int, str | None]] = {
    "a field twice": (with_field('"question": "Another?"'), 202, None),
    "metadata with a field twice": (with_field('"metadata": {"a": 1, "a": 2}'), 202, None),
    "a large whole number": (
        with_field('"metadata": {"a": 12345678901234567890}'),
        202,
        None,
    ),
    "a precise number": (with_field('"metadata": {"a": 0.1, "b": 1e-300, "c": -0.0}'), 202, None),
    "spaces around": (b" \r\n\t" + SOUND.encode() + b" \n", 202, None),
    "a number that is too large": (with_field('"metadata": {"a": 1e999}'), 422, "invalid_field"),
    "NaN": (with_field('"temperature": NaN'), 400, "malformed_json"),
    "Infinity": (with_field('"metadata": {"a": Infinity}'), 400, "malformed_json"),
    "very deep": (with_field(f'"metadata": {{"a": {DEEP}}}'), 400, "malformed_json"),
    "a comma at the end": ((SOUND[:-1] + ",}").encode(), 400, "malformed_json"),
    "more behind it": ((SOUND + SOUND).encode(), 400, "malformed_json"),
    "a NUL behind it": (SOUND.encode() + b"\0", 400, "malformed_json"),
    "a comment": (b"/* x */" + SOUND.encode(), 400, "malformed_json"),
    "a byte order mark": (b"\xef\xbb\xbf" + SOUND.encode(), 400, "malformed_json"),
    "UTF-16": (SOUND.encode("utf-16"), 400, "malformed_json"),
    "UTF-16 without a mark": (SOUND.encode("utf-16-le"), 400, "malformed_json"),
    "UTF-32": (SOUND.encode("utf-32"), 400, "malformed_json"),
    "an overlong slash": (
        with_field('"group": "X"').replace(b"X", b"\xc0\xaf"),
        400,
        "malformed_json",
    ),
    "Latin-1": (with_bytes(b"\xfc"), 400, "malformed_json"),
    "a raw surrogate": (
        with_field('"group": "X"').replace(b"X", b"\xed\xa0\x80"),
        400,
        "malformed_json",
    ),
    "a new line in a text": (with_field('"group": "a\nb"'), 400, "malformed_json"),
    "nothing": (b"", 400, "malformed_json"),
    "a list": (f"[{SOUND}]".encode(), 400, "not_an_object"),
    "a text": (json.dumps(SOUND).encode(), 400, "not_an_object"),
    "a number": (b"5", 400, "not_an_object"),
    "null": (b"null", 400, "not_an_object"),
}


@pytest.mark.parametrize("case", BODIES)
def test_a_body_is_json_or_is_said_not_to_be(newcomer: httpx.Client, case: str) -> None:
    body, status, code = BODIES[case]
    response = newcomer.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == status, response.text
    if code:
        assert response.json()["error"]["code"] == code
    else:
        job = newcomer.get(f"/v1/jobs/{response.json()['id']}").json()
        # Of a field that comes twice the last counts, as in Python and in browsers.
        assert job["metadata"] == json.loads(body).get("metadata", {})
        assert job["question"] == json.loads(body)["question"]


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json; charset=utf-8", 202),
        ("APPLICATION/JSON", 202),
        ("application/json; charset=utf-16", 202),
        ("text/json", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/json, text/plain", 415),
        ("multipart/form-data", 400),
        ("multipart/mixed; boundary=X", 415),
        ("x" * 4_000, 415),
        ("application/json; boundary=" + "y" * 4_000, 202),
        ("\xff", 415),
        ("", 415),
    ],
)
def test_a_body_is_of_the_kind_that_it_is_said_to_be(
    newcomer: httpx.Client, content_type: str, status: int
) -> None:
    headers = {b"Content-Type": content_type.encode("latin-1")}
    response = newcomer.post("/v1/jobs", content=SOUND.encode(), headers=headers)
    assert response.status_code == status, response.text


def test_a_compressed_body_is_not_unpacked(newcomer: httpx.Client) -> None:
    bomb = gzip.compress(b" " * 10_000_000)
    response = newcomer.post(
        "/v1/jobs",
        content=bomb,
        headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
    )
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "malformed_json"


FRAMES: dict[str, tuple[str, ...]] = {
    "a length and chunks": ("Content-Length: 6", "Transfer-Encoding: chunked"),
    "chunks and a length": ("Transfer-Encoding: chunked", "Content-Length: 6"),
    "two lengths": ("Content-Length: 5", "Content-Length: 6"),
    "the same length twice": ("Content-Length: 5", "Content-Length: 5"),
    "a list of lengths": ("Content-Length: 5, 5",),
    "a signed length": ("Content-Length: +5",),
    "a negative length": ("Content-Length: -1",),
    "a length in hex": ("Content-Length: 0x5",),
    "a length of other digits": ("Content-Length: ٥",),
    "a length with a gap": ("Content-Length: 5 5",),
    "an endless length": ("Content-Length: " + "9" * 5_000,),
    "chunks twice": ("Transfer-Encoding: chunked, chunked",),
    "chunks in two headers": ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "chunks before the last": ("Transfer-Encoding: chunked, gzip",),
    "chunks by another name": ("Transfer-Encoding: xchunked",),
    "chunks after a tab": ("Transfer-Encoding:\x0bchunked",),
    "no chunks at all": ("Transfer-Encoding: identity", "Content-Length: 5"),
    "a space before the colon": ("Transfer-Encoding : chunked",),
    "a header that goes on": ("X: y", " Transfer-Encoding: chunked"),
    "a header without a colon": ("Bearer canary",),
    "a NUL": ("X: a\0b",),
    "a bare return": ("X: a\rContent-Length: 5",),
    "two hosts": ("Host: other",),
}


@pytest.mark.parametrize("case", FRAMES)
def test_a_frame_that_can_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_read(
    installation: Installation, case: str
) -> None:
    told = tell(
        installation, head(installation, POST, JSON, *FRAMES[case], ""), b"0\r\n\r\n", SMUGGLED
    )
    assert told.status == 400
    assert told.code == "malformed_request"
    assert b"canary" not in told.text
    assert "canary" not in (installation.data_dir / "api.log").read_text()


@pytest.mark.parametrize(
    "line",
    [
        "GET",
        "GET /v1/models",
        "GET  /v1/models HTTP/1.1",
        "GET /v1/models HTTP/9.9",
        "GET /v1/models HTTP/1.1 x",
        "get /v1/models HTTP/1.1",
        "G\x01T /v1/models HTTP/1.1",
        "GET /v1/mod\x00els HTTP/1.1",
        "GET /v1/mod els HTTP/1.1",
        "PRI * HTTP/2.0",
    ],
)
def test_a_first_line_that_is_none_is_refused(installation: Installation, line: str) -> None:
    told = tell(installation, head(installation, line, ""), SMUGGLED)
    assert (told.status, told.code) == (400, "malformed_request")


def test_another_protocol_is_answered_and_hung_up_on(installation: Installation) -> None:
    assert tell(installation, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n").status == 400
    assert tell(installation, b"EHLO example.org\r\n\r\n").status == 400


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        (["X: " + "y" * 9_000], 431, "headers_too_large"),
        ([f"X-{n}: y" for n in range(100)], 431, "headers_too_large"),
        (["X: " + "y" * 8_000] * 20, 431, "headers_too_large"),
        (["X: " + "y" * 1_000_000], 431, "headers_too_large"),
        (["X: y"] * 200_000, 431, "headers_too_large"),
        (["Expect: the unexpected"], 417, "http_error"),
    ],
)
def test_headers_are_bounded(
    installation: Installation, headers: list[str], status: int, code: str
) -> None:
    told = tell(installation, head(installation, "GET /v1/models HTTP/1.1", *headers, ""))
    assert (told.status, told.code) == (status, code)
    assert told.seconds < FIRST_S


def test_a_url_is_bounded(installation: Installation) -> None:
    line = f"GET /v1/jobs?after={'y' * 9_000} HTTP/1.1"
    told = tell(installation, head(installation, line, ""))
    assert (told.status, told.code) == (414, "url_too_long")


def test_a_body_that_is_said_to_be_too_long_is_refused_before_it_comes(
    installation: Installation,
) -> None:
    for length in (MOST_BODY + 1, 10**12, 10**17):
        told = tell(installation, head(installation, POST, JSON, f"Content-Length: {length}", ""))
        assert (told.status, told.code) == (413, "body_too_large")
        assert told.seconds < 3


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=X"])
def test_chunks_without_an_end_are_cut_off_soon_after_the_limit(
    installation: Installation, kind: str
) -> None:
    piece = b"40000\r\n" + b" " * 0x40000 + b"\r\n"
    sent = 0
    with connected(installation) as peer:
        peer.sendall(
            head(installation, POST, f"Content-Type: {kind}", "Transfer-Encoding: chunked", "")
        )
        if "multipart" in kind:
            start = b'--X\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
            peer.sendall(b"%x\r\n%s\r\n" % (len(start), start))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while sent < 4 * MOST_BODY:
                peer.sendall(piece)
                sent += len(piece)
        told = answer(peer)
    assert sent < 2 * MOST_BODY
    assert told.statuses in ([413], []), "the answer is lost where its reader still writes"


@pytest.mark.parametrize(
    ("chunks", "code"),
    [
        (b"zz\r\n{}\r\n0\r\n\r\n", "malformed_request"),
        (b"-1\r\n{}\r\n0\r\n\r\n", "malformed_request"),
        (b"0x2\r\n{}\r\n0\r\n\r\n", "malformed_request"),
        (b"2\r\n{}XX\r\n0\r\n\r\n", "malformed_request"),
        (b"ffffffffffffffff\r\n{}\r\n", "malformed_request"),
        (b"2;" + b"x" * 100_000 + b"\r\n{}\r\n0\r\n\r\n", "malformed_request"),
        (b"2\n{}\n0\n\n", "malformed_request"),
    ],
)
def test_chunks_of_no_form_are_refused_and_nothing_behind_them_is_read(
    installation: Installation, chunks: bytes, code: str
) -> None:
    start = head(installation, POST, JSON, "Transfer-Encoding: chunked", "")
    with connected(installation) as peer:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            peer.sendall(start + chunks + SMUGGLED)
            peer.shutdown(1)
        told = answer(peer)
    assert told.status == 400
    assert told.code == code


def test_a_body_shorter_than_it_is_said_to_be_is_refused_when_its_sender_ends(
    installation: Installation,
) -> None:
    with connected(installation) as peer:
        peer.sendall(head(installation, POST, JSON, "Content-Length: 100000", "") + SOUND.encode())
        peer.shutdown(1)
        told = answer(peer)
    assert (told.status, told.code) == (400, "malformed_request")


def test_a_body_longer_than_it_is_said_to_be_is_cut_where_it_was_said_to_end(
    installation: Installation,
) -> None:
    start = head(installation, POST, JSON, "Content-Length: 10", "")
    told = tell(installation, start + SOUND.encode() + b"\r\n\r\n")
    assert told.statuses == [400, 400], "the rest is read as a request of its own, which it is not"


def test_a_form_of_two_thousand_parts_is_refused(newcomer: httpx.Client) -> None:
    files = [("image", (f"{n}.png", b"x")) for n in range(2_000)]
    response = newcomer.post("/v1/jobs", data={"question": "x"}, files=files)
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "body_too_large"


def test_callers_who_hang_up_at_any_point_leave_nothing_behind(
    installation: Installation, newcomer: httpx.Client
) -> None:
    api = installation.process("gunicorn")
    whole = head(installation, POST, JSON, f"Content-Length: {len(SOUND)}", "") + SOUND.encode()
    fds = [child for child in installation.family if child.parent == api.pid]
    before = sum(_open_files(child.pid) for child in fds)
    for at in range(1, len(whole) - 1, len(whole) // 60):
        with connected(installation) as peer:
            peer.sendall(whole[:at])
            if at % 2:
                peer.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER: closing resets

    def are_closed() -> bool:
        assert newcomer.get("/v1/models").status_code == 200
        return sum(_open_files(child.pid) for child in fds) <= before + 30

    eventually(are_closed, "their connections are closed")
    assert api.lives


def _open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_forms_and_json_are_told_apart_by_what_they_are_said_to_be(
    newcomer: httpx.Client, png: Callable[[str], bytes]
) -> None:
    boundary = {"Content-Type": "multipart/form-data; boundary=X"}
    response = newcomer.post("/v1/jobs", content=png("as a form"), headers=boundary)
    assert 400 <= response.status_code < 500
