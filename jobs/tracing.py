"""Traces: what a job goes through, as OpenTelemetry spans from its caller to its receiver.

The context of a trace travels as W3C `traceparent`: in a header to us, in the job's record, and in
a header to whoever is told of its end. Without an endpoint nothing is measured, and it travels all
the same. Spans have names, times and ids, and never what a job asks or answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from jobs.errors import ConfigurationError
from jobs.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

_FORM = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_current: ContextVar[str | None] = ContextVar("traceparent", default=None)


def traceparent(header: str | None) -> str | None:
    """Return the context that a header carries; None where it carries none that can be read."""
    return header if header and _FORM.fullmatch(header) else None


def trace_id(context: str | None) -> str | None:
    """Return the id of a context's trace."""
    form = _FORM.fullmatch(context) if context else None
    return form[1] if form else None


class Tracer:
    """Makes spans; without a provider none, and contexts are handed on as they come."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider

    @contextmanager
    def span(
        self, name: str, parent: str | None = None, **attributes: str | int
    ) -> Iterator[str | None]:
        """Measure what is done meanwhile, within ``parent`` or else within the span around it.

        Gives the context to hand on.
        """
        parent = parent or _current.get()
        span = self._start(name, parent, None, attributes)
        context = _context_of(span) if span else parent
        token = _current.set(context)
        try:
            yield context
        except BaseException as error:
            if span:
                # Its message could quote a question.
                span.set_attribute("error.type", type(error).__name__)
            raise
        finally:
            _current.reset(token)
            if span:
                span.end()

    def past(
        self,
        name: str,
        began_ms: float,
        ended_ms: float,
        parent: str | None = None,
        **attributes: str | int,
    ) -> None:
        """Tell of something that is over; times in milliseconds since the epoch."""
        span = self._start(name, parent or _current.get(), began_ms, attributes)
        if span:
            span.end(round(max(began_ms, ended_ms) * 1e6))

    def close(self) -> None:
        """Send what is left, for at most some seconds, and measure no more."""
        if self._provider:
            self._provider.shutdown()

    def _start(
        self, name: str, parent: str | None, began_ms: float | None, attributes: dict[str, Any]
    ) -> Span | None:
        if self._provider is None:
            return None
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {"traceparent": parent} if parent else {}
        return self._provider.get_tracer("llava-jobs").start_span(
            name,
            context=TraceContextTextMapPropagator().extract(carrier),
            attributes={f"llava_jobs.{key}": value for key, value in attributes.items()},
            start_time=None if began_ms is None else round(began_ms * 1e6),
        )


def tracer(settings: Settings, service: str) -> Tracer:
    """Return a tracer as the settings want it, of the part of us that ``service`` names.

    Raises ConfigurationError where traces are wanted and the packages for them are missing.
    """
    if not settings.otlp_endpoint:
        return Tracer()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise ConfigurationError(
            "LLAVA_JOBS_OTLP_ENDPOINT is set and OpenTelemetry is not installed: "
            "`pip install 'llava-jobs[telemetry]'`, or unset it"
        ) from None
    provider = TracerProvider(
        resource=Resource.create({"service.name": f"llava-jobs-{service}"}), shutdown_on_exit=False
    )
    url = f"{settings.otlp_endpoint.rstrip('/')}/v1/traces"
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url, timeout=5)))
    return Tracer(provider)


def _context_of(span: Span) -> str:
    told = span.get_span_context()
    return f"00-{told.trace_id:032x}-{told.span_id:016x}-{int(told.trace_flags):02x}"
