"""Forms of other sites: none is taken, and no page can be framed, nor run what slipped in."""

import pytest
from flask import Flask

from api.console.guard import needed_scope
from jobs.keys import Scope
from tests.unit.api.conftest import Caller
from tests.unit.api.console.conftest import HTML, Browser

ELSEWHERE = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://localhost.evil.example"},
]


def forms(app: Flask) -> list[str]:
    """The path of every form that pages take."""
    return [
        "/".join("x" if part.startswith("<") else part for part in rule.rule.split("/"))
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("pages.") and "POST" in (rule.methods or ())
    ]


def test_every_form_wants_its_token(app: Flask, browser: Browser) -> None:
    assert len(forms(app)) >= 3
    for path in forms(app):
        for token in (None, "", "0" * 64, "é"):
            assert browser.post(path, csrf=token).status_code == 403, path


def test_no_form_is_taken_from_elsewhere(app: Flask, browser: Browser) -> None:
    for path in forms(app):
        for headers in ELSEWHERE:
            assert browser.post(path, headers=headers).status_code == 403, (path, headers)


def test_a_token_is_of_no_use_to_anybody_else(browser: Browser, foreign: Browser) -> None:
    assert browser.csrf() != foreign.csrf()
    assert browser.post("/sign-out", csrf=foreign.csrf()).status_code == 403


def test_a_token_from_before_signing_in_is_none_after(visitor: Browser, api: Caller) -> None:
    visitor.get("/sign-in")
    before = visitor.csrf()
    visitor.sign_in(api.key)
    assert visitor.post("/sign-out", csrf=before).status_code == 403


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
