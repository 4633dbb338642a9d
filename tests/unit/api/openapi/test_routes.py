"""The page that describes the API: read without a script, a network or a mouse."""

import re
from html.parser import HTMLParser

import pytest
from flask import Flask

from api.openapi.error_codes import faults
from api.openapi.sections import operations


class _Page(HTMLParser):
    """What a page links to, loads, and can be linked at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.tags.append(tag)
        self.ids += [told["id"] or ""] if "id" in told else []
        self.inline += [name for name in told if name == "style" or name.startswith("on")]
        if tag == "a":
            self.links.append(told.get("href") or "")
        elif told.get("src") or told.get("href"):
            self.loaded.append(told.get("src") or told.get("href") or "")


@pytest.fixture
def text(app: Flask) -> str:
    """The page."""
    response = app.test_client().get("/docs")
    assert response.status_code == 200
    assert response.mimetype == "text/html"
    return response.text


@pytest.fixture
def page(text: str) -> _Page:
    """What is in the page."""
    return _Page(text)


def test_it_needs_neither_a_script_nor_a_network(app: Flask, page: _Page) -> None:
    assert "script" not in page.tags
    assert page.inline == []
    for source in page.loaded:
        assert source.startswith(("/static/", "data:")), source
        if source.startswith("/static/"):
            with app.test_client().get(source) as response:
                assert response.status_code == 200


def test_browsers_are_told_to_run_and_fetch_nothing_else(app: Flask) -> None:
    headers = app.test_client().get("/docs").headers
    policy = dict(
        part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_every_call_has_a_place_and_an_example(text: str, page: _Page) -> None:
    for operation in operations():
        assert operation.name in page.ids
    assert len(re.findall(r"<code>curl ", text)) == len(operations())


def test_every_error_has_a_place(page: _Page) -> None:
    assert {f"error-{code}" for code in faults("calls")} <= set(page.ids)


def test_every_link_within_the_page_leads_somewhere_and_places_are_unique(page: _Page) -> None:
    assert len(set(page.ids)) == len(page.ids)
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids, link


def test_it_is_not_sent_again_to_whoever_has_it(app: Flask) -> None:
    etag = app.test_client().get("/docs").headers["ETag"]
    assert app.test_client().get("/docs", headers={"If-None-Match": etag}).status_code == 304


def test_a_host_that_is_not_one_cannot_write_into_it(app: Flask) -> None:
    response = app.test_client().get("/docs", headers={"Host": 'x"><b>y'})
    assert "<b>y" not in response.text
