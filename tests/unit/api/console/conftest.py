"""Browsers at the pages, as far as Flask's client is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from jobs.keys import Keys
from tests.unit.api.conftest import Caller
from tests.unit.api.forms import MIME, written

HTML = {"Accept": "text/html,*/*;q=0.8"}
ORIGIN = "http://localhost"


@dataclass(frozen=True)
class Browser:
    """A browser with its cookies."""

    http: FlaskClient

    def get(self, path: str, **headers: str) -> TestResponse:
        """Open a page."""
        return self.http.get(path, headers={**HTML, **headers})

    def post(self, path: str, headers: dict[str, str] | None = None, **form: Any) -> TestResponse:
        """Send a form as a page of ours does, unless the headers say otherwise."""
        sent = {**HTML, "Origin": ORIGIN, "Sec-Fetch-Site": "same-origin", **(headers or {})}
        parts = {name: value for name, value in form.items() if value is not None}
        if any(isinstance(part, tuple) for part in parts.values()):
            sent["Content-Type"] = MIME
            return self.http.post(path, data=written(parts), headers=sent, buffered=True)
        return self.http.post(path, data=parts, headers=sent, buffered=True)

    def sign_in(self, key: str, **form: Any) -> TestResponse:
        """Sign in with a key."""
        return self.post("/sign-in", key=key, **form)


@pytest.fixture
def visitor(app: Flask, api: Caller) -> Browser:
    """A browser that is not signed in."""
    return Browser(app.test_client())


@pytest.fixture
def browser(visitor: Browser, api: Caller) -> Browser:
    """A browser that is signed in with the key of tenant acme."""
    assert visitor.sign_in(api.key).status_code == 303
    return visitor


@pytest.fixture
def foreign(app: Flask, stranger: Caller) -> Browser:
    """A browser that is signed in for another tenant."""
    other = Browser(app.test_client())
    assert other.sign_in(stranger.key).status_code == 303
    return other


@pytest.fixture
def signed_in_with(app: Flask, api: Caller, client: Any) -> Any:
    """Makes a browser that is signed in with a key of some scopes."""

    def make(*scopes: Any) -> Browser:
        made = Browser(app.test_client())
        assert made.sign_in(Keys(client).create("acme", scopes=scopes)).status_code == 303
        return made

    return make
