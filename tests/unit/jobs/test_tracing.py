"""The context of a trace goes where its job goes, whether spans are measured or not."""

import sys
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from jobs.errors import ConfigurationError
from jobs.ledger import Ledger
from jobs.settings import Settings
from jobs.tracing import Tracer, trace_id, traceparent, tracer
from tests.ledgers import claimed, draft, records

CONTEXT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    "header",
    [
        *(None, "", "00", "canary", CONTEXT.upper(), CONTEXT + "-00", " " + CONTEXT),
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ],
)
def test_a_header_that_is_no_context_is_none(header: str | None) -> None:
    assert traceparent(header) is None
    assert trace_id(header) is None


def test_a_context_has_the_id_of_its_trace() -> None:
    assert traceparent(CONTEXT) == CONTEXT
    assert trace_id(CONTEXT) == "4bf92f3577b34da6a3ce929d0e0e4736"


def test_a_job_carries_its_trace_to_its_worker(ledger: Ledger) -> None:
    ledger.submit(draft(trace=CONTEXT))
    ledger.submit(draft())
    assert [claimed(ledger).job.trace for _ in range(2)] == [CONTEXT, None]


def test_a_record_of_before_traces_can_be_read(client: Any, ledger: Ledger) -> None:
    job, _ = ledger.submit(draft(trace=CONTEXT))
    client.hdel(f"lj:job:{job.id}", "trace")
    assert "trace" not in records(client)[job.id]
    assert claimed(ledger).job.trace is None


def test_the_trace_is_no_part_of_what_a_job_asks(ledger: Ledger) -> None:
    first = draft(trace=CONTEXT)
    second = draft(conversation=first.conversation, trace=None)
    assert first.work == second.work
    assert first.request_json() == second.request_json()


def test_without_an_endpoint_contexts_are_handed_on_and_nothing_is_loaded() -> None:
    off = tracer(Settings(), "api")
    with off.span("outer", CONTEXT) as outer, off.span("inner") as inner:
        off.past("before", 0, 1)
    assert (outer, inner) == (CONTEXT, CONTEXT)
    with off.span("alone") as alone:
        assert alone is None


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    """Keeps the spans that were made."""
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter: InMemorySpanExporter) -> Tracer:
    """A tracer that measures."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracer(provider)


def test_a_span_is_within_the_one_around_it(
    tracing: Tracer, exporter: InMemorySpanExporter
) -> None:
    with tracing.span("outer", CONTEXT, job="job_1") as outer, tracing.span("inner") as inner:
        tracing.past("before", 1_000, 2_000, attempt=1)
    before, within, around = exporter.get_finished_spans()
    assert trace_id(outer) == trace_id(inner) == trace_id(CONTEXT)
    assert around.parent is not None
    assert within.parent is not None
    assert before.parent is not None
    assert f"{around.parent.span_id:016x}" == CONTEXT.split("-")[2]
    assert within.parent.span_id == around.context.span_id
    assert before.parent.span_id == within.context.span_id
    assert (before.start_time, before.end_time) == (10**9, 2 * 10**9)
    assert dict(around.attributes or {}) == {"llava_jobs.job": "job_1"}


def test_a_failure_is_named_and_not_quoted(tracing: Tracer, exporter: InMemorySpanExporter) -> None:
    def fail() -> None:
        with tracing.span("outer"):
            raise ValueError("canary")

    with pytest.raises(ValueError, match="canary"):
        fail()
    [span] = exporter.get_finished_spans()
    assert dict(span.attributes or {}) == {"error.type": "ValueError"}
    assert "canary" not in span.to_json()


def test_clocks_that_disagree_make_no_span_that_ends_before_it_begins(
    tracing: Tracer, exporter: InMemorySpanExporter
) -> None:
    tracing.past("wait", 2_000, 1_000)
    [span] = exporter.get_finished_spans()
    assert span.start_time == span.end_time


def test_an_endpoint_without_the_packages_is_said_with_the_cure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'llava-jobs\[telemetry\]'"):
        tracer(Settings(otlp_endpoint="http://127.0.0.1:1"), "api")
