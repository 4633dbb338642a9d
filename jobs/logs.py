"""Structured logs: one JSON object a line, with names of things and never their content."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any

import structlog

from jobs.errors import ConfigurationError

Event = MutableMapping[str, Any]


def configure_logs() -> None:
    """Log events as JSON lines to standard error, those of libraries from warnings on.

    Callers pass ids, counts and codes; no question, answer, picture or key may be a field. Who and
    what a line is about, as far as it is bound to the context, is in it.
    """
    structlog.configure(
        processors=[*_first(), _where, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(formatter())
        root.addHandler(handler)


def formatter() -> logging.Formatter:
    """Return what makes such lines of the standard library's records."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_first(),
        processors=[_of_a_library, _where, structlog.processors.JSONRenderer()],
    )


def _first() -> list[structlog.typing.Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _of_a_library(_: object, __: str, event: Event) -> Event:
    """Say whose record it is; what it says of a failure could quote a request, and is left out."""
    record: logging.LogRecord = event.pop("_record")
    del event["_from_structlog"]
    event["logger"] = record.name
    if event.get("exc_info"):
        event["event"] = str(record.msg)
    return event


def _where(_: object, __: str, event: Event) -> Event:
    """Replace an exception by the lines it came through: its message could quote a question."""
    told = event.pop("exc_info", None)
    if told:
        kind, error, came_through = told if isinstance(told, tuple) else sys.exc_info()
        frames = traceback.extract_tb(came_through)
        event["where"] = [f"{frame.name}:{frame.lineno}" for frame in frames]
        if kind is not None:
            event.setdefault("error", kind.__name__)
        if isinstance(error, ConfigurationError):
            event["message"] = str(error)
    return event
