"""What a key is shown: without `read`, nothing that was asked, answered or sent, on any route."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import pytest
from flask import Flask
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from api.console.access import authorization
from api.http.auth import needed_scopes
from jobs.job import Outcome, Status
from jobs.keys import Keys, Scope
from jobs.ledger import Ledger
from tests.ledgers import MODEL, claimed
from tests.unit.api.conftest import DATA_URI, PNG, Caller, body
from tests.unit.api.console.conftest import Browser
from tests.unit.api.forms import MIME, written
from tests.unit.api.openai.batching import (
    ENDPOINT,
    asks,
    failed,
    feeder,
    jsonl,
    line,
    picture,
    until,
)

CANARY = "canary"
HOOK = f"https://hooks.example.com/{CANARY}"
BATCH = {"endpoint": ENDPOINT, "completion_window": "24h", "metadata": {CANARY: CANARY}}
ASKED: dict[str, Any] = {
    "question": f"{CANARY} question?",
    "group": f"{CANARY} group",
    "metadata": {CANARY: CANARY},
    "webhook": {"url": HOOK},
}
MESSAGES = [
    {
        "role": "user",
        "content": [
            {"type": "image_url", "image_url": {"url": DATA_URI}},
            {"type": "text", "text": ASKED["question"]},
        ],
    }
]
SHOWS_NOTHING_HERE = {
    "POST /v1/chat/completions",  # shows an answer, so that it needs `read` besides
    "POST /v1/webhooks/secret",  # there is one
    "POST /v1/webhooks/enable",  # no receiver is disabled
}
"""Calls that a key with the one scope that they need is refused here."""
PEOPLE_SAID = {
    *("GET /v1/jobs", "GET /v1/jobs/<job_id>", "GET /v1/jobs/<job_id>/stream"),
    *("GET /v1/jobs/<job_id>/deliveries", "GET /v1/files", "GET /v1/files/<file_id>"),
    *("GET /v1/files/<file_id>/content", "GET /v1/batches", "GET /v1/batches/<batch_id>"),
    *("GET /jobs/<job_id>", "GET /jobs/<job_id>/answer", "GET /jobs/<job_id>/events"),
}
"""What shows it to a key with `read`."""
EVERY = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE"})
ERASING = ("DELETE", "erase", "revoke", "cancel", "pause", "drain", "intake", "workers", "sign-out")


@dataclass(frozen=True)
class Content:
    """What tenant acme has, by the names that routes give it."""

    names: dict[str, list[str]]
    file: str

    def paths(self, rule: Rule) -> list[str]:
        """A route's paths to all that it can lead to."""
        names = rule.arguments - {"number"}
        if not names:
            return [rule.rule]
        [name] = names
        kind = rule.rule.removeprefix("/v1/").removeprefix("admin/").partition("/")[0]
        known = self.names[kind if name == "name" else name]
        pattern = re.sub(r"<[a-z:]*number>", "0", rule.rule)
        return [re.sub(r"<[a-z:]*\w+>", each, pattern) for each in known]

    def sent(self, call: str) -> dict[str, Any]:
        """What a call of the API carries: what is answered already is asked in the same words."""
        bodies: dict[str, dict[str, Any]] = {
            "POST /v1/jobs": {"json": body(**ASKED)},
            "POST /v1/chat/completions": {"json": {"model": MODEL, "messages": MESSAGES}},
            "POST /v1/images": {"json": {"data": DATA_URI}},
            "POST /v1/files": {"data": form(b"{}\n"), "content_type": MIME},
            "POST /v1/batches": {"json": {"input_file_id": self.file, **BATCH}},
            "POST /v1/webhooks/enable": {"json": {"url": HOOK}},
            "POST /v1/admin/keys": {"json": {"tenant": "acme"}},
        }
        return bodies.get(call, {} if call.startswith(("GET", "HEAD")) else {"json": {}})

    def filled_in(self, rule: str) -> dict[str, Any]:
        """What the form of a page carries, besides its token."""
        return {
            "/ask": {"question": ASKED["question"], "image": ("panel.png", PNG)},
            "/taste": {"theme": "dark", "next": "/"},
            "/console/keys": {"tenant": "acme", "scope": "read"},
            "/console/keys/<key_id>/rotate": {"overlap": "1"},
            "/console/keys/limits": {"tenant": "acme"},
            "/console/failures": {"reason": "error"},
            "/console/failures/job": {"job": self.names["job_id"][1]},
            "/console/workers": {"worker": "w1", "do": "resume"},
        }.get(rule, {})


@pytest.fixture
def content(app: Flask, api: Caller, books: Ledger, client: Any) -> Content:
    """Jobs in all states, files and batches, in which all that people write has the canary."""
    assert api("POST", "/v1/webhooks/secret").status_code == 201
    answered = api.submit(**ASKED)
    answer = {"text": f"{CANARY} answer", "finish_reason": "stop"}
    books.finish(claimed(books), Outcome(Status.SUCCEEDED, answer=answer))
    others = []
    for state in ("failed", "running", "queued"):
        others.append(api.submit(**{**ASKED, "question": f"{CANARY} {state}?", "cache": False}))
        if state == "failed":
            error = {"code": "refused", "message": f"{CANARY} message"}
            books.finish(claimed(books), Outcome(Status.FAILED, error=error))
        elif state == "running":
            claimed(books)
    shown = picture(api)
    lines = jsonl([line(f"{CANARY} line", asks(shown, ASKED["question"]))])
    sent = api("POST", "/v1/files", data=form(lines), content_type=MIME).get_json()
    spare = api("POST", "/v1/files", data=form(b"{}"), content_type=MIME).get_json()
    over = failed(app, api, metadata={CANARY: CANARY})
    begun = api("POST", "/v1/batches", json={"input_file_id": sent["id"], **BATCH}).get_json()
    running = until(api, feeder(app), begun, "in_progress")
    books.renew("w1", MODEL, {"slots": 1}, {})
    names = {
        "job_id": [answered, *others],
        "file_id": [sent["id"], spare["id"]],
        "batch_id": [running["id"], over["id"]],
        "image_id": [shown],
        "reason": ["error"],
        "key_id": [Keys(client).create("acme").split("_")[1]],
        "groups": [ASKED["group"]],
        "models": [MODEL],
        "tenants": ["acme"],
        "workers": ["w1"],
    }
    return Content(names, sent["id"])


def form(lines: bytes) -> bytes:
    """A form with a file."""
    return written({"purpose": "batch", "file": (f"{CANARY}.jsonl", lines)})


def calls(app: Flask, *, pages: bool) -> list[tuple[str, Rule]]:
    """Every route with each of its methods: what erases or stops comes last."""
    found = [
        (method, rule)
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"OPTIONS"})
        if rule.endpoint != "static" and rule.endpoint.startswith("pages.") is pages
    ]
    return sorted(found, key=lambda one: any(word in f"{one[0]} {one[1]}" for word in ERASING))


def seen(response: TestResponse) -> str:
    """All that a response tells its caller, but for the path that this one named itself."""
    headers = "\n".join(f"{name}: {value}" for name, value in response.headers)
    text = response.data.decode(errors="replace")
    return f"{headers}\n{text}".replace(response.request.path, "").lower()


def called(
    app: Flask, content: Content, caller: Caller, *, methods: frozenset[str] = EVERY
) -> dict[str, list[TestResponse]]:
    """What a key is answered by every call of the API, on all that there is."""
    found: dict[str, list[TestResponse]] = {}
    for method, rule in calls(app, pages=False):
        if method in methods:
            call = f"{method} {rule.rule}"
            prefer = {"Prefer": "wait=1"} if call == "POST /v1/jobs" else {}
            found[call] = [
                caller(method, path, headers=prefer, **content.sent(call))
                for path in content.paths(rule)
            ]
    return found


def visited(
    app: Flask, content: Content, browser: Browser, *, methods: frozenset[str] = EVERY
) -> dict[str, list[TestResponse]]:
    """What a visitor is shown by every page, as a whole and as a part."""
    found: dict[str, list[TestResponse]] = {}
    for method, rule in calls(app, pages=True):
        if method in methods and "sign" not in rule.rule:
            responses = found.setdefault(f"{method} {rule.rule}", [])
            for path in content.paths(rule):
                for headers in ({}, {"HX-Request": "true"}):
                    response = (
                        browser.post(path, headers=headers, **content.filled_in(rule.rule))
                        if method == "POST"
                        else browser.get(path, **headers)
                    )
                    response.get_data()
                    response.close()
                    responses.append(response)
    return found


def browser_of(app: Flask, client: Any, scope: Scope) -> Browser:
    """A browser that is signed in with a key of one scope."""
    browser = Browser(app.test_client())
    assert browser.sign_in(Keys(client).create("acme", scopes=[scope])).status_code == 303
    return browser


def told(found: dict[str, list[TestResponse]]) -> set[str]:
    """The calls that show what people said."""
    return {call for call, some in found.items() if any(CANARY in seen(one) for one in some)}


def passed(found: dict[str, list[TestResponse]]) -> set[str]:
    """The calls that were answered with something else than an error."""
    return {call for call, some in found.items() if any(one.status_code < 400 for one in some)}


@pytest.mark.parametrize("scope", [Scope.SUBMIT, Scope.ADMIN])
def test_a_key_without_read_is_shown_nothing_that_was_said_by_any_call(
    app: Flask, content: Content, client: Any, scope: Scope
) -> None:
    caller = Caller(app.test_client(), Keys(client).create("acme", scopes=[scope]))
    found = called(app, content, caller)
    assert told(found) == set()
    may = {call for call in found if scope in needed_scopes(*call.split(" ", 1))}
    assert may - passed(found) <= SHOWS_NOTHING_HERE, "what is refused shows nothing, too"


@pytest.mark.parametrize("scope", [Scope.SUBMIT, Scope.ADMIN])
def test_a_visitor_without_read_is_shown_nothing_that_was_said_by_any_page(
    app: Flask, content: Content, client: Any, scope: Scope
) -> None:
    found = visited(app, content, browser_of(app, client, scope))
    assert told(found) == set()
    may = {call for call in found if authorization.needed_scope(*call.split(" ", 1)) is scope}
    assert may <= passed(found), "what is refused shows nothing, too"


def test_with_read_it_is_shown_so_that_the_canary_is_where_it_was_looked_for(
    app: Flask, content: Content, client: Any
) -> None:
    ended = replace(content, names={**content.names, "job_id": content.names["job_id"][:2]})
    reader = Caller(app.test_client(), Keys(client).create("acme", scopes=[Scope.READ]))
    found = called(app, ended, reader, methods=frozenset({"GET"}))
    pages = visited(app, ended, browser_of(app, client, Scope.READ), methods=frozenset({"GET"}))
    assert told(found) | told(pages) == PEOPLE_SAID
