"""Pictures by URL: off unless hosts are allowed, fetched at the door, and then as any other."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from pydantic import SecretStr

from api import create_app
from api.images.download import ImageUrls
from jobs.keys import Keys
from jobs.ledger import Ledger
from jobs.settings import Settings
from llava_jobs.embedded import EmbeddedStore
from tests.ledgers import claimed
from tests.receivers import Behaviour, Names, Receiver, drips, hangs, outbound, resets, says, status
from tests.unit.api.conftest import DATA_URI, PNG, QUESTION, Caller, assert_problem

MAX_BYTES = 300_000


def file(data: bytes, headers: str = "") -> Behaviour:
    """Answers with a file."""
    head = f"HTTP/1.1 200 OK\r\n{headers}Content-Length: {len(data)}\r\n\r\n"
    return says(head.encode() + data)


@pytest.fixture
def host() -> Iterator[Receiver]:
    """A host of pictures."""
    running = Receiver()
    running.behaviour = file(PNG)
    yield running
    running.close()


@pytest.fixture(scope="module")
def fetching(store: EmbeddedStore) -> Iterator[Flask]:
    """The application, which fetches pictures from one host, here on loopback."""
    settings = Settings(redis_url=SecretStr(store.url), sweep_ms=3_600_000)
    app = create_app(settings)
    names = Names(cdn_test=[["127.0.0.1"]], inside_test=[["10.0.0.1"]])
    hosts = ("cdn.test", "inside.test")
    client = outbound(names, timeout_s=0.5, hosts=hosts, redirects=3, max_bytes=MAX_BYTES)
    services = app.extensions["services"]
    pictures = replace(services.pictures, urls=ImageUrls(client))
    app.extensions["services"] = replace(services, pictures=pictures)
    yield app
    app.extensions["running"].close()


@pytest.fixture
def caller(fetching: Flask, client: Any) -> Caller:
    """A caller of that application, over an empty store."""
    return Caller(fetching.test_client(), Keys(client).create("acme"))


def url_of(host: Receiver, path: str = "/a.png") -> str:
    """The URL of a picture."""
    return host.url(path, host="cdn.test")


def shown(job_id: str, books: Ledger) -> list[str]:
    """The digests of a job's pictures."""
    job = books.get("acme", job_id)
    assert job
    return [image.digest for image in job.conversation.images]


def test_a_picture_by_url_is_the_picture_itself(
    caller: Caller, host: Receiver, books: Ledger
) -> None:
    by_url = caller.submit(images=[{"url": url_of(host)}])
    itself = caller.submit(images=[{"data": DATA_URI}])
    content = [
        {"type": "text", "text": QUESTION},
        {"type": "image_url", "image_url": {"url": url_of(host)}},
    ]
    message = {"role": "user", "content": content}
    in_message = caller.submit(question=..., images=..., messages=[message])
    assert shown(by_url, books) == shown(itself, books) == shown(in_message, books)
    assert host.received[0].line == "GET /a.png HTTP/1.1"
    assert "authorization" not in host.received[0].headers
    assert "cookie" not in host.received[0].headers
    claimed(books)


def test_a_redirect_within_the_rules_is_followed(caller: Caller, host: Receiver) -> None:
    def moved_once(peer: Any, received: Any) -> None:
        moved = status(302, "Location: /b.png\r\n")
        (file(PNG) if "/b.png" in received.line else moved)(peer, received)

    host.behaviour = moved_once
    caller.submit(images=[{"url": url_of(host)}])
    assert host.connections == 2


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://elsewhere.test/a.png", "image_url_forbidden"),
        ("https://inside.test/a.png", "image_url_forbidden"),
        ("https://169.254.169.254/", "image_url_forbidden"),
        ("https://user@cdn.test/", "image_url_forbidden"),
        ("ftp://cdn.test/a.png", "image_url_forbidden"),
        ("file:///etc/passwd", "image_url_invalid"),
        ("https://cdn.test\\@elsewhere.test/", "image_url_invalid"),
        ("https://2130706433/", "image_url_invalid"),
        ("https://cdn.test:1/a.png", "image_url_failed"),
    ],
)
def test_only_what_is_allowed_is_fetched(caller: Caller, url: str, code: str) -> None:
    assert_problem(caller.create(images=[{"url": url}]), 422, code)


@pytest.mark.parametrize(
    ("behaviour", "status_code", "code"),
    [
        (status(404), 422, "image_url_failed"),
        (status(206), 422, "image_url_failed"),
        (status(500), 422, "image_url_failed"),
        (status(302, "Location: http://169.254.169.254/\r\n"), 422, "image_url_forbidden"),
        (status(302, "Location: https://elsewhere.test/\r\n"), 422, "image_url_forbidden"),
        (status(302, "Location: /again\r\n"), 422, "image_url_failed"),
        (resets, 422, "image_url_failed"),
        (says(b"not HTTP\r\n\r\n"), 422, "image_url_failed"),
        (hangs, 422, "image_url_timeout"),
        (drips(b"HTTP/1.1 200 OK\r\n\r\n", b"."), 422, "image_url_timeout"),
        (says(b"HTTP/1.1 200 OK\r\n\r\n" + b"." * 2 * MAX_BYTES), 413, "image_too_many_bytes"),
        (file(b""), 400, "image_empty"),
        (file(b"<html>no picture</html>"), 415, "image_unsupported"),
        (file(PNG[: len(PNG) // 2]), 422, "image_truncated"),
    ],
    ids=[
        *("404", "206", "500", "to metadata", "to elsewhere", "in circles", "reset", "not HTTP"),
        *("hang", "drip", "oversize", "empty", "page", "truncated"),
    ],
)
def test_each_failure_is_told_with_a_code_of_its_own(
    caller: Caller, host: Receiver, behaviour: Behaviour, status_code: int, code: str
) -> None:
    host.behaviour = behaviour
    assert_problem(caller.create(images=[{"url": url_of(host)}]), status_code, code)


@pytest.mark.parametrize("form", ["url", "data"])
def test_without_allowed_hosts_nothing_is_fetched(api: Caller, host: Receiver, form: str) -> None:
    told = assert_problem(api.create(images=[{form: host.url()}]), 422, "image_url_off")
    assert told["error"]["param"] == "images"
    assert host.connections == 0


@pytest.mark.parametrize(
    ("picture", "code"),
    [
        ({}, "missing_field"),
        ({"url": "https://cdn.test/a.png", "data": DATA_URI}, "conflicting_fields"),
    ],
)
def test_a_picture_is_in_one_place(caller: Caller, picture: dict[str, str], code: str) -> None:
    assert_problem(caller.create(images=[picture]), 422, code)
