"""A job is one trace, from its caller through API and worker to the receiver of its webhook."""

import json
import secrets

import httpx
import pytest

from tests.eventually import eventually
from tests.installations import ended, submit
from tests.receivers import Receiver
from tests.spans import Collector, Span

STAGES = {"accept", "wait", "attempt", "prepare", "generate", "finish", "webhook"}


@pytest.fixture
def trace() -> str:
    """The id of a trace that nobody has used."""
    return secrets.token_hex(16)


@pytest.fixture
def spans(
    http: httpx.Client, picture: bytes, trace: str, collector: Collector, webhook_secret: str
) -> tuple[dict[str, Span], str, Receiver]:
    """The spans of a job that its caller traces, its id, and the receiver that was told."""
    receiver = Receiver()
    hook = json.dumps({"url": receiver.url()})
    http.headers["traceparent"] = f"00-{trace}-00f067aa0ba902b7-01"
    job = submit(http, picture, question="canary-question", max_new_tokens="4", webhook=hook)
    ended(http, job["id"])
    eventually(lambda: receiver.received, "it is told")
    eventually(lambda: set(collector.spans(trace)) >= STAGES, "every span")
    receiver.close()
    return collector.spans(trace), job["id"], receiver


def test_every_stage_of_a_job_is_a_span_of_its_callers_trace(
    spans: tuple[dict[str, Span], str, Receiver], trace: str, collector: Collector
) -> None:
    found, job_id, receiver = spans
    services = {span.name: span.service for span in found.values()}
    worker = dict.fromkeys(
        ("wait", "attempt", "prepare", "generate", "finish"), "llava-jobs-worker"
    )
    assert services == {"accept": "llava-jobs-api", "webhook": "llava-jobs-deliver", **worker}

    accept, attempt = found["accept"], found["attempt"]
    assert accept.parent == "00f067aa0ba902b7"
    assert {found[name].parent for name in ("wait", "attempt", "webhook")} == {accept.id}
    assert {found[name].parent for name in ("prepare", "generate", "finish")} == {attempt.id}
    assert attempt.attributes["llava_jobs.job"] == job_id
    assert attempt.attributes["llava_jobs.attempt"] == 1
    assert found["wait"].end >= found["wait"].start
    order = [found[name].end for name in ("prepare", "generate", "finish", "attempt")]
    assert order == sorted(order)
    assert found["webhook"].start >= found["finish"].start

    [told] = receiver.received
    assert told.headers["traceparent"] == f"00-{trace}-{found['webhook'].id}-01"
    assert b"canary" not in collector.raw, "what it asks is nobody's business"


def test_what_a_caller_does_not_want_sampled_is_not_measured(
    http: httpx.Client, picture: bytes, trace: str, collector: Collector
) -> None:
    http.headers["traceparent"] = f"00-{trace}-00f067aa0ba902b7-00"
    ended(http, submit(http, picture, max_new_tokens="4")["id"])
    sampled = secrets.token_hex(16)
    http.headers["traceparent"] = f"00-{sampled}-00f067aa0ba902b7-01"
    ended(http, submit(http, picture, max_new_tokens="4")["id"])
    eventually(lambda: "attempt" in collector.spans(sampled), "a later job's span")
    assert collector.spans(trace) == {}
