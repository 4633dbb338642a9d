"""Every error has one shape, whatever went wrong and wherever."""

import signal
from collections.abc import Iterator
from os import kill
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from pydantic import SecretStr

from api import create_app
from jobs.keys import Keys
from jobs.settings import Settings
from llava_jobs.embedded import EmbeddedStore
from tests.unit.api.conftest import MAX_BODY_BYTES, Caller, assert_problem, body

JOB = "/v1/jobs/job_" + "0" * 32


@pytest.mark.parametrize(
    "path", ["/nothing", "/v1", "/v1/nothing", "/v2/jobs", "/%00", "/v1/jobs/a/b/c"]
)
def test_an_unknown_path_is_a_404_problem(api: Caller, path: str) -> None:
    assert_problem(api("GET", path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/jobs", "POST"),
        ("POST", JOB, "GET"),
        ("GET", f"{JOB}/cancel", "POST"),
        ("DELETE", "/healthz", "GET"),
    ],
)
def test_a_wrong_method_is_a_405_problem_that_says_which_are_allowed(
    api: Caller, method: str, path: str, allowed: str
) -> None:
    response = api(method, path)
    assert_problem(response, 405, "method_not_allowed")
    assert allowed in response.headers["Allow"].split(", ")


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "application/xml", "image/png", ""],
)
def test_a_body_of_another_media_type_is_a_415_problem(api: Caller, content_type: str) -> None:
    response = api("POST", "/v1/jobs", data=b"question=x", content_type=content_type)
    assert_problem(response, 415, "unsupported_media_type")


def test_a_body_that_is_too_large_is_a_413_problem(api: Caller) -> None:
    big = b'{"question": "' + b"x" * MAX_BODY_BYTES + b'"}'
    response = api("POST", "/v1/jobs", data=big, content_type="application/json")
    assert_problem(response, 413, "body_too_large")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic YTpi",
        "Bearer lj_000000000000_" + "0" * 48,
        "Bearer sch\xfcssel",
        "Bearer " + "x" * 5_000,
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/jobs"),
        ("GET", JOB),
        ("POST", f"{JOB}/cancel"),
        ("GET", "/v1/models"),
    ],
)
def test_without_a_valid_key_every_route_is_a_401_problem(
    app: Flask, client: Any, method: str, path: str, header: str | None
) -> None:
    headers = {} if header is None else {"Authorization": header}
    response = app.test_client().open(path, method=method, headers=headers, json=body())
    assert_problem(response, 401, "invalid_api_key")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert client.dbsize() == 0


def test_a_revoked_key_is_refused(api: Caller, client: Any) -> None:
    job_id = api.submit()
    Keys(client).revoke(api.key.split("_")[1])
    assert_problem(api("GET", f"/v1/jobs/{job_id}"), 401, "invalid_api_key")


def test_a_bearer_scheme_is_read_in_any_case(api: Caller) -> None:
    for scheme in ("bearer", "BEARER"):
        assert api("GET", "/v1/models", headers={"Authorization": f"{scheme} {api.key}"}).json


def test_an_error_of_our_own_tells_nothing_of_the_inside(
    app: Flask, api: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("/work/secret.py at 127.0.0.1 said no")

    monkeypatch.setattr("api.jobs.routes.represent", broken)
    told = assert_problem(api.create(), 500, "internal_error")
    assert "secret" not in str(told)
    assert "RuntimeError" not in str(told)


@pytest.fixture
def orphan(tmp_path: Path) -> Iterator[Caller]:
    """A caller of an API whose store is killed after the start."""
    with EmbeddedStore(tmp_path) as store:
        app = create_app(Settings(redis_url=SecretStr(store.url), sweep_ms=3_600_000))
        keys: Keys = app.extensions["keys"]
        caller = Caller(app.test_client(), keys.create("acme"))
        kill(store.pid, signal.SIGKILL)
    yield caller
    app.extensions["running"].close()


def test_while_the_store_is_down_calls_are_503_problems_with_retry_after(orphan: Caller) -> None:
    calls = [
        orphan.create(),
        orphan("GET", JOB),
        orphan("POST", f"{JOB}/cancel"),
        orphan("GET", "/v1/models"),
        orphan("GET", "/readyz"),
    ]
    for response in calls:
        assert_problem(response, 503, "store_unavailable")
    assert orphan("GET", "/healthz").json == {"status": "ok"}
