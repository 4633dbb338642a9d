"""What a key may do: each route needs one scope, and no route is without."""

from typing import Any

import pytest
from flask import Flask

from api.http.auth import needed_scopes
from jobs.keys import Keys, Scope
from tests.unit.api.conftest import Caller, assert_problem, body

FOR_ANYBODY = {
    *("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"),
    "/static/<path:filename>",
}
JOB = "/v1/jobs/job_" + "0" * 32
ANSWERING = {"/v1/chat/completions"}
"""What needs `read` besides, as it is called for its answer."""
TABLE = [
    ("POST", "/v1/jobs", Scope.SUBMIT),
    ("GET", "/v1/jobs", Scope.READ),
    ("GET", JOB, Scope.READ),
    ("HEAD", JOB, Scope.READ),
    ("GET", f"{JOB}/stream", Scope.READ),
    ("POST", f"{JOB}/cancel", Scope.SUBMIT),
    ("DELETE", JOB, Scope.SUBMIT),
    ("POST", "/v1/groups/g/cancel", Scope.SUBMIT),
    ("DELETE", "/v1/groups/g", Scope.SUBMIT),
    ("POST", "/v1/images", Scope.SUBMIT),
    ("DELETE", "/v1/images/img_x", Scope.SUBMIT),
    ("GET", "/v1/events", Scope.READ),
    ("GET", f"{JOB}/deliveries", Scope.READ),
    ("POST", f"{JOB}/deliveries", Scope.SUBMIT),
    ("POST", "/v1/webhooks/secret", Scope.SUBMIT),
    ("POST", "/v1/webhooks/secret/rotate", Scope.SUBMIT),
    ("POST", "/v1/webhooks/enable", Scope.SUBMIT),
    ("POST", "/v1/chat/completions", Scope.SUBMIT),
    ("POST", "/v1/files", Scope.SUBMIT),
    ("GET", "/v1/files", Scope.READ),
    ("GET", "/v1/files/x", Scope.READ),
    ("GET", "/v1/files/x/content", Scope.READ),
    ("DELETE", "/v1/files/x", Scope.SUBMIT),
    ("POST", "/v1/batches", Scope.SUBMIT),
    ("GET", "/v1/batches", Scope.READ),
    ("GET", "/v1/batches/x", Scope.READ),
    ("POST", "/v1/batches/x/cancel", Scope.SUBMIT),
    ("DELETE", "/v1/batches/x", Scope.SUBMIT),
    ("GET", "/v1/models", Scope.READ),
    ("GET", "/v1/models/x", Scope.READ),
    ("GET", "/v1/admin/keys", Scope.ADMIN),
    ("POST", "/v1/admin/keys", Scope.ADMIN),
    ("GET", "/v1/admin/keys/x", Scope.ADMIN),
    ("DELETE", "/v1/admin/keys/x", Scope.ADMIN),
    ("POST", "/v1/admin/keys/x/rotate", Scope.ADMIN),
    ("GET", "/v1/admin/tenants", Scope.ADMIN),
    ("GET", "/v1/admin/tenants/x", Scope.ADMIN),
    ("PUT", "/v1/admin/tenants/x/limits", Scope.ADMIN),
    ("POST", f"{JOB}/retry", Scope.SUBMIT),
    ("GET", "/v1/admin/intake", Scope.ADMIN),
    ("POST", "/v1/admin/intake/pause", Scope.ADMIN),
    ("POST", "/v1/admin/intake/resume", Scope.ADMIN),
    ("GET", "/v1/admin/workers", Scope.ADMIN),
    ("POST", "/v1/admin/workers/x/drain", Scope.ADMIN),
    ("POST", "/v1/admin/workers/x/resume", Scope.ADMIN),
    ("GET", "/v1/admin/failures", Scope.ADMIN),
    ("GET", "/v1/admin/failures/error", Scope.ADMIN),
    ("POST", "/v1/admin/failures/error/retry", Scope.ADMIN),
    ("POST", "/v1/admin/jobs/x/retry", Scope.ADMIN),
    ("GET", "/v1/admin/figures", Scope.ADMIN),
]


def routes(app: Flask) -> list[tuple[str, str, str]]:
    """Every route as (method, rule, path that it matches)."""
    return [
        (method, rule.rule, _path(rule.rule))
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"OPTIONS"})
    ]


def _path(rule: str) -> str:
    return "/".join("x" if part.startswith("<") else part for part in rule.split("/"))


@pytest.fixture
def with_scopes(app: Flask, api: Caller, client: Any) -> Any:
    """Makes a caller of tenant acme with some scopes and no others."""
    return lambda *scopes: Caller(app.test_client(), Keys(client).create("acme", scopes=scopes))


@pytest.mark.parametrize(("method", "path", "needed"), TABLE)
@pytest.mark.parametrize("scope", Scope)
def test_a_key_may_do_what_its_scope_says_and_nothing_else(
    with_scopes: Any, method: str, path: str, needed: Scope, scope: Scope
) -> None:
    response = with_scopes(scope)(method, path)
    if scope is needed and path not in ANSWERING:
        assert response.status_code not in (401, 403)
    elif method == "HEAD":
        assert response.status_code == 403
    elif scope is not needed:
        assert needed.value in assert_problem(response, 403, "insufficient_scope")["detail"]


def test_no_route_under_v1_can_be_called_without_a_scope(app: Flask, with_scopes: Any) -> None:
    powerless = with_scopes()
    pages = {r.rule for r in app.url_map.iter_rules() if r.endpoint.startswith("pages.")}
    assert not any(rule.startswith("/v1/") for rule in pages)
    for method, rule, path in routes(app):
        if rule in FOR_ANYBODY or rule in pages:  # tests/unit/api/console has those
            continue
        assert rule.startswith("/v1/"), f"{rule}: who may call it?"
        assert powerless(method, path).status_code == 403, (method, path)
        assert app.test_client().open(path, method=method).status_code == 401, (method, path)


def test_every_route_of_the_table_is_there_and_needs_what_it_says(app: Flask) -> None:
    adapter = app.url_map.bind("localhost")
    for method, path, needed in TABLE:
        rule, _ = adapter.match(path, method, return_rule=True)
        assert needed_scopes(method, rule.rule)[0] is needed


def test_every_route_under_v1_is_in_the_table(app: Flask) -> None:
    adapter = app.url_map.bind("localhost")
    told = {
        (method, adapter.match(path, method, return_rule=True)[0].rule) for method, path, _ in TABLE
    }
    for rule in app.url_map.iter_rules():
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            if rule.rule.startswith("/v1/"):
                assert (method, rule.rule) in told, (
                    f"{method} {rule.rule}: say in TABLE what scope it needs"
                )


def test_what_is_for_anybody_needs_no_key(app: Flask, client: Any) -> None:
    for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
        assert app.test_client().get(path).status_code == 200


def test_options_tell_the_methods_and_nothing_else(app: Flask) -> None:
    response = app.test_client().options("/v1/jobs")
    assert response.status_code == 200
    assert response.data == b""


def test_a_key_that_only_reads_cannot_submit_and_changes_nothing(
    api: Caller, with_scopes: Any
) -> None:
    job_id = api.submit()
    reader = with_scopes(Scope.READ)
    assert reader.job(job_id) == api.job(job_id)
    assert_problem(reader.create(), 403, "insufficient_scope")
    assert_problem(reader("POST", f"/v1/jobs/{job_id}/cancel"), 403, "insufficient_scope")
    assert_problem(reader("DELETE", f"/v1/jobs/{job_id}"), 403, "insufficient_scope")
    assert api.job(job_id)["status"] == "queued"


def test_a_key_that_only_submits_cannot_read(with_scopes: Any) -> None:
    sender = with_scopes(Scope.SUBMIT)
    assert_problem(sender("GET", f"/v1/jobs/{sender.submit()}"), 403, "insufficient_scope")


def test_what_answers_needs_a_key_that_submits_and_reads(with_scopes: Any) -> None:
    for path in ANSWERING:
        for scope, other in ((Scope.SUBMIT, "read"), (Scope.READ, "submit")):
            told = assert_problem(with_scopes(scope)("POST", path), 403, "insufficient_scope")
            assert other in told["detail"]
        both = with_scopes(Scope.SUBMIT, Scope.READ)("POST", path)
        assert both.status_code == 415, "it is looked at what was sent"


def test_a_key_that_only_submits_is_shown_a_receipt(api: Caller, with_scopes: Any) -> None:
    sender = with_scopes(Scope.SUBMIT)
    accepted = sender.create(headers={"Prefer": "wait=1"})
    assert accepted.status_code == 202
    job_id = accepted.get_json()["id"]
    assert accepted.headers["Location"].endswith(job_id)
    queued = {"id": job_id, "status": "queued", "cancel_requested_at": None}
    assert accepted.get_json() == queued
    stopped = sender("POST", f"/v1/jobs/{job_id}/cancel").get_json()
    assert stopped == {
        "id": job_id,
        "status": "canceled",
        "cancel_requested_at": api.job(job_id)["cancel_requested_at"],
    }


def test_an_administrators_key_sees_no_question_and_no_answer(
    api: Caller, with_scopes: Any
) -> None:
    job_id = api.submit()
    admin = with_scopes(Scope.ADMIN)
    assert_problem(admin("GET", f"/v1/jobs/{job_id}"), 403, "insufficient_scope")
    assert_problem(admin("POST", "/v1/jobs", json=body()), 403, "insufficient_scope")


def test_an_expired_key_is_a_401_of_its_own_code(app: Flask, client: Any) -> None:
    caller = Caller(app.test_client(), Keys(client, lambda: 0).create("acme", expires_in_s=1))
    assert_problem(caller("GET", "/v1/models"), 401, "expired_api_key")
