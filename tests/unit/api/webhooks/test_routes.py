"""Webhooks over HTTP: asked for with a job, seen, sent again; the secret is shown once."""

import io
import json
from typing import Any

import pytest

from jobs.deliveries import Deliveries, Verdict
from jobs.ledger import Ledger
from jobs.webhook import Webhook
from jobs.webhook_secrets import WebhookSecrets
from tests.ledgers import ANSWER, claimed
from tests.unit.api.conftest import PNG, QUESTION, Caller, assert_problem

URL = "https://hooks.example.com/done?token=canary"


@pytest.fixture
def secret(api: Caller) -> str:
    """The caller's secret."""
    response = api("POST", "/v1/webhooks/secret")
    assert response.status_code == 201
    return str(response.json["secret"])  # type: ignore[index]


def listed(caller: Caller, job_id: str) -> list[dict[str, Any]]:
    """The deliveries of a job."""
    response = caller("GET", f"/v1/jobs/{job_id}/deliveries")
    assert response.status_code == 200
    assert response.json is not None
    assert set(response.json) == {"object", "data", "next"}
    data: list[dict[str, Any]] = response.json["data"]
    return data


def test_a_job_says_whether_its_receiver_has_been_told(
    api: Caller, secret: str, books: Ledger, client: Any
) -> None:
    job_id = api.submit(webhook={"url": URL})
    assert api.job(job_id)["webhook_status"] is None
    assert listed(api, job_id) == []
    books.finish(claimed(books), ANSWER)
    assert api.job(job_id)["webhook_status"] == "pending"
    [delivery] = Deliveries(client).claim(9, 1000)
    assert delivery.webhook == Webhook(URL, "hooks.example.com", ("completed",))
    Deliveries(client).note(delivery, "timed_out", Verdict.RETRY, 60_000)
    [shown] = listed(api, job_id)
    assert shown["id"] == delivery.id
    assert shown["url"] == "https://hooks.example.com/done"
    assert shown["status"] == "pending"
    [attempt] = shown["attempts"]
    assert attempt["at"].endswith("Z")
    assert (attempt["status_code"], attempt["error"]) == (None, "timed_out")
    assert shown["next_attempt_at"] > attempt["at"]


def test_a_delivery_is_sent_again(api: Caller, secret: str, books: Ledger, client: Any) -> None:
    job_id = api.submit(webhook={"url": URL})
    assert_problem(api("POST", f"/v1/jobs/{job_id}/deliveries"), 409, "job_not_ended")
    books.finish(claimed(books), ANSWER)
    [delivery] = Deliveries(client).claim(9, 1000)
    Deliveries(client).note(delivery, 200, Verdict.DELIVERED, 0)
    assert api.job(job_id)["webhook_status"] == "delivered"
    response = api("POST", f"/v1/jobs/{job_id}/deliveries")
    assert response.status_code == 202
    assert response.json is not None
    [shown] = response.json["data"]
    assert (shown["status"], len(shown["attempts"])) == ("pending", 1)
    [again] = Deliveries(client).claim(9, 1000)
    assert again.id == delivery.id


def test_without_a_webhook_there_is_nothing_to_send(api: Caller) -> None:
    job_id = api.submit()
    assert listed(api, job_id) == []
    assert_problem(api("POST", f"/v1/jobs/{job_id}/deliveries"), 409, "webhook_missing")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_deliveries_of_others_and_of_nobody_are_not_found(
    api: Caller, stranger: Caller, secret: str, method: str
) -> None:
    job_id = api.submit(webhook={"url": URL})
    for caller, name in ((stranger, job_id), (api, "job_none")):
        assert_problem(caller(method, f"/v1/jobs/{name}/deliveries"), 404, "job_not_found")


def test_a_form_names_a_webhook_as_json_text(
    api: Caller, secret: str, books: Ledger, client: Any
) -> None:
    fields = {"question": QUESTION, "webhook": json.dumps({"url": URL, "events": ["succeeded"]})}
    response = api("POST", "/v1/jobs", data={**fields, "image": (io.BytesIO(PNG), "a.png")})
    assert response.status_code == 202, response.text
    books.finish(claimed(books), ANSWER)
    [delivery] = Deliveries(client).claim(9, 1000)
    assert delivery.webhook.events == ("succeeded",)
    broken = api(
        "POST", "/v1/jobs", data={**fields, "webhook": URL, "image": (io.BytesIO(PNG), "a.png")}
    )
    assert_problem(broken, 422, "malformed_json")


def test_without_a_secret_no_job_is_accepted_whose_webhook_would_be_unsigned(api: Caller) -> None:
    told = assert_problem(api.create(webhook={"url": URL}), 422, "webhook_secret_missing")
    assert "/v1/webhooks/secret" in told["detail"]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://2130706433/", "webhook_url_invalid"),
        ("http://127.0.0.1\\@1.1.1.1/", "webhook_url_invalid"),
        ("https://exa mple.org/", "webhook_url_invalid"),
        ("not a url", "webhook_url_invalid"),
        ("http://example.org/", "webhook_url_forbidden"),
        ("ftp://example.org/", "webhook_url_forbidden"),
        ("https://user:pass@example.org/", "webhook_url_forbidden"),
        ("https://127.0.0.1/", "webhook_url_forbidden"),
        ("https://169.254.169.254/latest/meta-data", "webhook_url_forbidden"),
        ("https://[::ffff:10.0.0.1]/", "webhook_url_forbidden"),
    ],
)
def test_a_url_that_is_never_sent_to_is_refused_at_once(
    api: Caller, secret: str, url: str, code: str
) -> None:
    told = assert_problem(api.create(webhook={"url": url}), 422, code)
    assert told["error"]["param"] == "webhook.url"


@pytest.mark.parametrize(
    ("webhook", "code", "param"),
    [
        ({}, "missing_field", "webhook.url"),
        ({"url": ""}, "invalid_field", "webhook.url"),
        ({"url": "https://example.org/" + "a" * 2048}, "invalid_field", "webhook.url"),
        ({"url": URL, "events": []}, "invalid_field", "webhook.events"),
        ({"url": URL, "events": ["started"]}, "invalid_field", "webhook.events.0"),
        ({"url": URL, "secret": "s"}, "unknown_field", "webhook.secret"),
        (URL, "invalid_field", "webhook"),
    ],
)
def test_a_webhook_is_a_url_and_the_ends_to_tell(
    api: Caller, secret: str, webhook: Any, code: str, param: str
) -> None:
    told = assert_problem(api.create(webhook=webhook), 422, code)
    assert told["error"]["param"] == param


def test_another_webhook_under_the_same_idempotency_key_is_another_request(
    api: Caller, secret: str
) -> None:
    headers = {"Idempotency-Key": "k"}
    first = api.create(headers, webhook={"url": URL})
    again = api.create(headers, webhook={"url": URL})
    assert first.json is not None
    assert again.json is not None
    assert first.json["id"] == again.json["id"]
    other = api.create(headers, webhook={"url": "https://other.example.com/"})
    assert_problem(other, 422, "idempotency_mismatch")


def test_the_secret_is_made_once_and_rotated(api: Caller, secret: str, client: Any) -> None:
    assert_problem(api("POST", "/v1/webhooks/secret"), 409, "webhook_secret_exists")
    response = api("POST", "/v1/webhooks/secret/rotate")
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "private, no-store"
    assert response.json is not None
    assert WebhookSecrets(client).valid("acme") == [response.json["secret"], secret]


def test_a_url_that_was_gone_is_enabled_again(
    api: Caller, secret: str, books: Ledger, client: Any
) -> None:
    job_id = api.submit(webhook={"url": URL})
    books.finish(claimed(books), ANSWER)
    [delivery] = Deliveries(client).claim(9, 1000)
    Deliveries(client).note(delivery, 410, Verdict.GONE, 0)
    assert api.job(job_id)["webhook_status"] == "disabled"
    assert_problem(api("POST", f"/v1/jobs/{job_id}/deliveries"), 409, "webhook_disabled")
    enable = {"url": URL}
    assert api("POST", "/v1/webhooks/enable", json=enable).status_code == 204
    assert_problem(api("POST", "/v1/webhooks/enable", json=enable), 404, "webhook_not_disabled")
    assert api("POST", f"/v1/jobs/{job_id}/deliveries").status_code == 202


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/webhooks/secret"),
        ("POST", "/v1/webhooks/secret/rotate"),
        ("POST", "/v1/webhooks/enable"),
        ("GET", "/v1/jobs/job_none/deliveries"),
        ("POST", "/v1/jobs/job_none/deliveries"),
    ],
)
def test_nothing_is_done_without_a_key(api: Caller, method: str, path: str) -> None:
    response = api(method, path, headers={"Authorization": "Bearer wrong"})
    assert_problem(response, 401, "invalid_api_key")
