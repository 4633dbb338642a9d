"""Azure's own poller follows a job as it follows any of Azure's long-running operations."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from azure.core import PipelineClient
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline import PipelineResponse
from azure.core.pipeline.policies import HeadersPolicy, RequestIdPolicy, RetryPolicy
from azure.core.polling import LROPoller
from azure.core.polling.base_polling import LROBasePolling
from azure.core.rest import HttpRequest

from tests.eventually import PATIENCE_S, eventually
from tests.installations import Installation
from tests.unit.api.pictures import encoded, scene

PICTURE = "data:image/png;base64," + base64.b64encode(encoded(scene(), "PNG")).decode()
Client = PipelineClient[Any, Any]
Job = dict[str, Any]
Begin = Callable[..., LROPoller[Job]]


@pytest.fixture
def azure(installation: Installation) -> Iterator[Client]:
    """A client as those that Azure generates from descriptions of its services."""
    key = {"Authorization": f"Bearer {installation.key}"}
    policies = [RequestIdPolicy(), HeadersPolicy(key), RetryPolicy()]
    with PipelineClient[Any, Any](installation.url, policies=policies) as client:
        yield client


@pytest.fixture
def begin(azure: Client) -> Begin:
    """Submits a job, which is run for itself, and returns Azure's poller of it."""

    def call(prefer: str = "", options: dict[str, str] | None = None, **fields: Any) -> Any:
        body = {"question": "Which code?", "images": [{"data": PICTURE}], "cache": False}
        request = HttpRequest(
            "POST",
            f"{azure._base_url}/v1/jobs",
            json={**body, **fields},
            headers={"Prefer": prefer} if prefer else {},
        )
        first = azure.send_request(request, _return_pipeline_response=True)
        first.http_response.raise_for_status()
        return LROPoller(azure, first, _read, LROBasePolling(timeout=60, lro_options=options))

    return call


def _read(response: PipelineResponse[Any, Any]) -> Job:
    told: Job = response.http_response.json()
    return told


@pytest.mark.parametrize("via", [None, "location", "operation-location"])
def test_a_job_is_followed_to_its_answer(begin: Begin, via: str | None) -> None:
    options = {"final-state-via": via} if via else None
    job = begin(options=options, max_new_tokens=3).result(PATIENCE_S)
    assert job["status"] == "succeeded"
    assert job["answer"]["text"]


def test_a_job_that_is_answered_at_once_is_not_polled(begin: Begin) -> None:
    poller = begin(prefer="wait=30", max_new_tokens=3)
    assert poller.result(PATIENCE_S)["status"] == "succeeded"


def test_a_job_that_fails_raises(begin: Begin) -> None:
    long = [{"type": "text", "text": "w " * 3_000}] * 10
    shown = {"type": "image_url", "image_url": {"url": PICTURE}}
    poller = begin(question=None, images=[], messages=[{"role": "user", "content": [shown, *long]}])
    with pytest.raises(HttpResponseError) as raised:
        poller.result(PATIENCE_S)
    assert poller.status() == "failed"
    assert raised.value.response
    assert raised.value.response.json()["error"]["code"] == "prompt_too_long"  # type: ignore[attr-defined]
    assert raised.value.error
    assert raised.value.error.code == "prompt_too_long"


@pytest.mark.usefixtures("gate")
def test_a_job_that_is_canceled_raises(begin: Begin, azure: Client) -> None:
    poller = begin(max_new_tokens=4_000)
    job: Job = poller.polling_method().resource()
    eventually(lambda: _status(azure, job["links"]["self"]) == "processing", "it runs")
    azure.send_request(HttpRequest("POST", f"{azure._base_url}{job['links']['cancel']}"))
    with pytest.raises(HttpResponseError):
        poller.result(PATIENCE_S)
    assert poller.status() == "canceled"


def test_a_poller_is_taken_up_by_another_process(begin: Begin, azure: Client) -> None:
    token = begin(max_new_tokens=3).continuation_token()
    poller: LROPoller[Job] = LROPoller.from_continuation_token(
        LROBasePolling(timeout=60), token, client=azure, deserialization_callback=_read
    )
    assert poller.result(PATIENCE_S)["status"] == "succeeded"


def test_a_refusal_is_azures_own_error(begin: Begin) -> None:
    with pytest.raises(HttpResponseError) as raised:
        begin(question="")
    assert raised.value.status_code == 422
    assert raised.value.error
    assert raised.value.error.code == "invalid_field"


def _status(azure: Client, path: str) -> str:
    response = azure.send_request(HttpRequest("GET", f"{azure._base_url}{path}"))
    return str(response.json()["status"])
