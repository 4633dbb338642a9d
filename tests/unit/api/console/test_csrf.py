"""Forms of other sites: none is taken, and no page can be framed, nor run what slipped in."""

import re

import pytest
from flask import Flask

from api.console.access.authorization import needed_scope
from jobs.keys import Scope
from tests.unit.api.console.conftest import HTML, Browser

ELSEWHERE = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://["},
    {"Origin": ""},
]


def forms(app: Flask) -> list[str]:
    """The path of every form that pages take."""
    return [
        "/".join("x" if part.startswith("<") else part for part in rule.rule.split("/"))
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("pages.") and "POST" in (rule.methods or ())
    ]


def test_no_form_is_taken_from_elsewhere(app: Flask, browser: Browser) -> None:
    assert len(forms(app)) >= 3
    for path in forms(app):
        for headers in ELSEWHERE:
            assert browser.post(path, headers=headers).status_code == 403, (path, headers)


def test_no_form_is_taken_that_does_not_say_where_it_comes_from(
    app: Flask, browser: Browser
) -> None:
    for path in forms(app):
        assert browser.http.post(path, headers=HTML).status_code == 403, path


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://localhost"},
        {"Origin": "https://localhost"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_a_form_of_ours_is_taken_however_old_its_page_is(
    browser: Browser, headers: dict[str, str]
) -> None:
    response = browser.http.post("/taste", data={"theme": "dark"}, headers=headers)
    assert response.status_code == 303


def test_a_stranger_chooses_looks_on_an_error_page_too(visitor: Browser) -> None:
    page = visitor.get("/nowhere")
    assert page.status_code == 404
    [path] = re.findall(r'<form method="post" action="([^"]+)">', page.text)
    assert visitor.post(path, theme="dark", next="/nowhere").headers["Location"] == "/nowhere"
    assert 'data-theme="dark"' in visitor.get("/nowhere").text


def test_every_page_says_what_a_browser_must_not_do(browser: Browser) -> None:
    for path in ("/nowhere", "/jobs/x", "/sign-in"):
        headers = browser.get(path).headers
        policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "private, no-store"


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/", None),
        ("GET", "/jobs/x", Scope.READ),
        ("POST", "/ask", Scope.SUBMIT),
        ("POST", "/jobs/x/erase", Scope.SUBMIT),
        ("GET", "/console", Scope.ADMIN),
        ("POST", "/console/pause", Scope.ADMIN),
    ],
)
def test_a_page_needs_the_scope_that_its_path_says(
    method: str, path: str, scope: Scope | None
) -> None:
    assert needed_scope(method, path) is scope


def test_no_page_but_the_door_is_seen_without_a_session(app: Flask, visitor: Browser) -> None:
    for rule in app.url_map.iter_rules():
        if rule.endpoint.startswith("pages.") and "GET" in (rule.methods or ()):
            path = "/".join("0" if p.startswith("<") else p for p in rule.rule.split("/"))
            response = visitor.http.get(path, headers=HTML)
            expected = 200 if rule.endpoint == "pages.entrance.show" else 303
            assert response.status_code == expected, path
