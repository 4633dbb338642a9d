"""The API over the real store, and callers with keys of their own."""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pydantic import SecretStr
from werkzeug.test import TestResponse

from api import create_app
from jobs.keys import Keys
from jobs.ledger import Ledger
from jobs.pace import Paces
from jobs.settings import Settings
from jobs.signals import Signals
from jobs.store import connect
from llava_jobs.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.unit.api.openapi.described import assert_described
from tests.unit.api.pictures import encoded, scene

PNG = encoded(scene(), "PNG")
DATA_URI = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
QUESTION = "What is the error code?"
MAX_BODY_BYTES = 2 * 1024 * 1024
MAX_FILE_BYTES = 24 * 1024 * 1024


def body(**changes: Any) -> dict[str, Any]:
    """A request body that is accepted, with changes; a field changed to ... is left out."""
    fields = {"question": QUESTION, "images": [{"data": DATA_URI}], **changes}
    return {name: value for name, value in fields.items() if value is not ...}


@dataclass(frozen=True)
class Caller:
    """Somebody who calls the API with a key."""

    http: FlaskClient
    key: str

    def __call__(self, method: str, path: str, **options: Any) -> TestResponse:
        """Send a request, with the key unless other headers say otherwise.

        Whatever a test looks at, the answer must be one that the API's description knows.
        """
        headers = {"Authorization": f"Bearer {self.key}", **options.pop("headers", {})}
        response = self.http.open(path, method=method, headers=headers, buffered=True, **options)
        assert_described(response)
        return response

    def create(self, headers: dict[str, str] | None = None, **changes: Any) -> TestResponse:
        """Post a job as JSON."""
        return self("POST", "/v1/jobs", json=body(**changes), headers=headers or {})

    def submit(self, **changes: Any) -> str:
        """Post a job that is accepted, and return its id."""
        response = self.create(**changes)
        assert response.status_code == 202, response.text
        return str(response.json["id"])  # type: ignore[index]

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as it stands."""
        found: dict[str, Any] | None = self("GET", f"/v1/jobs/{job_id}").json
        assert found is not None
        return found


@pytest.fixture(scope="session")
def app(store: EmbeddedStore) -> Iterator[Flask]:
    """The application, with a sweeper and a feeder that leave the tests alone."""
    settings = Settings(
        redis_url=SecretStr(store.url),
        sweep_ms=3_600_000,
        batch_ms=3_600_000,
        max_body_bytes=MAX_BODY_BYTES,
        max_file_bytes=MAX_FILE_BYTES,
    )
    made = create_app(settings)
    # A store that is emptied for each test has no pace and no reading to keep for a second.
    parts = made.extensions["services"]
    client = connect(store.url)
    paces = Paces(client, parts.ledger, clock=count(step=60).__next__)
    signals = Signals(client, settings.lease_ms, kept_s=0)
    made.extensions["services"] = replace(parts, paces=paces, signals=signals)
    yield made
    made.extensions["running"].close()


@pytest.fixture(autouse=True)
def _no_call_stays_open(request: pytest.FixtureRequest) -> Iterator[None]:
    """Hold each test to it that its calls are over: they are counted in one process for all."""
    yield
    if "app" in request.fixturenames:
        connections = request.getfixturevalue("app").extensions["services"].connections
        eventually(lambda: len(connections) == 0, "all calls are over", 20)


@pytest.fixture
def api(app: Flask, client: Any) -> Caller:
    """A caller of tenant acme, over an empty store."""
    return Caller(app.test_client(), Keys(client).create("acme"))


@pytest.fixture
def stranger(app: Flask, api: Caller, client: Any) -> Caller:
    """A caller of another tenant."""
    return Caller(app.test_client(), Keys(client).create("other"))


@pytest.fixture
def books(api: Caller, client: Any) -> Ledger:
    """The ledger by the store's own clock, as the API has it."""
    return Ledger(client)


def assert_problem(response: TestResponse, status: int, code: str) -> dict[str, Any]:
    """Hold an error to RFC 9457 and to OpenAI's shape at once, and return its body."""
    assert response.status_code == status, response.text
    assert response.mimetype == "application/problem+json"
    told: dict[str, Any] | None = response.get_json(force=True)
    assert told is not None
    assert set(told) == {"type", "title", "status", "detail", "instance", "error"}
    assert set(told["error"]) == {"message", "type", "param", "code"}
    assert told["status"] == status
    assert told["error"]["code"] == code
    assert told["error"]["message"] == told["detail"]
    assert told["error"]["type"]
    assert code in told["type"]
    assert told["title"]
    assert re.match(r"[a-z]+:", told["type"]), "a URI"
    assert told["instance"] == response.request.path
    for leak in ("Traceback", "redis", "/work", ".py", "127.0.0.1", "Error("):
        assert leak not in told["detail"]
    if status in (429, 503):
        assert int(response.headers["Retry-After"]) > 0
    return told
