"""Structured logs: one JSON object a line, with names of things and never their content."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any

import structlog


def configure_logs() -> None:
    """Log events as JSON lines to standard error.

    Callers pass ids, counts and codes; no question, answer, picture or key may be a field.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _where,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def _where(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace an exception by the lines it came through: its message could quote a question."""
    if event.pop("exc_info", None):
        frames = traceback.extract_tb(sys.exc_info()[2])
        event["where"] = [f"{frame.name}:{frame.lineno}" for frame in frames]
    return event
