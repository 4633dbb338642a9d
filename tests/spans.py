"""A collector of traces, and what it was sent, for tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.receivers import Receiver, says

_OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True)
class Span:
    """A span as it came; ids in hex, times in nanoseconds."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    start: int
    end: int
    attributes: dict[str, Any]


class Collector:
    """Takes traces by OTLP over HTTP, and keeps them."""

    def __init__(self) -> None:
        self._receiver = Receiver()
        self._receiver.behaviour = says(_OK)
        self.endpoint = f"http://127.0.0.1:{self._receiver.port}"

    @property
    def raw(self) -> bytes:
        """All that came, as it came."""
        return b"".join(received.body for received in list(self._receiver.received))

    def spans(self, trace: str) -> dict[str, Span]:
        """The spans of a trace by name."""
        return {span.name: span for span in self._spans() if span.trace == trace}

    def close(self) -> None:
        """Take no more."""
        self._receiver.close()

    def _spans(self) -> list[Span]:
        return [
            Span(
                service=_attributes(of.resource.attributes)["service.name"],
                name=span.name,
                trace=span.trace_id.hex(),
                id=span.span_id.hex(),
                parent=span.parent_span_id.hex(),
                start=span.start_time_unix_nano,
                end=span.end_time_unix_nano,
                attributes=_attributes(span.attributes),
            )
            for received in list(self._receiver.received)
            for of in ExportTraceServiceRequest.FromString(received.body).resource_spans
            for scope in of.scope_spans
            for span in scope.spans
        ]


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
