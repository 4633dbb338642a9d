"""Whether the API lives, whether it can accept jobs, and which models are served."""

from typing import Any

from flask import Flask

from jobs.ledger import Ledger
from tests.unit.api.conftest import Caller


def test_a_process_that_answers_is_alive(app: Flask) -> None:
    response = app.test_client().get("/healthz")
    assert (response.status_code, response.json) == (200, {"status": "ok"})


def test_readiness_needs_no_key_and_counts_workers(app: Flask, client: Any) -> None:
    assert app.test_client().get("/readyz").json == {"status": "ready", "workers": {}}
    Ledger(client).renew("w1", "demo", {}, {})
    assert app.test_client().get("/readyz").json == {"status": "ready", "workers": {"demo": 1}}


def test_jobs_are_accepted_while_there_are_no_workers(app: Flask, api: Caller) -> None:
    api.submit()
    response = app.test_client().get("/readyz")
    assert (response.status_code, response.json) == (
        200,
        {"status": "ready", "workers": {"demo": 0}},
    )


def test_models_are_those_with_live_workers_in_openais_shape(api: Caller, books: Ledger) -> None:
    api.submit()
    assert api("GET", "/v1/models").json == {"object": "list", "data": []}
    books.renew("w1", "demo", {}, {})
    listed = api("GET", "/v1/models").json
    assert listed
    [model] = listed["data"]
    assert (model["id"], model["object"]) == ("demo", "model")
    assert isinstance(model["created"], int)
    assert model["owned_by"]


def test_a_model_that_another_worker_serves_may_be_asked_for(api: Caller, books: Ledger) -> None:
    books.renew("w1", "llava-large", {}, {})
    job = api.job(api.submit(model="llava-large"))
    assert job["model"] == "llava-large"
