"""When a queued job will be answered, as its submitter is told."""

from __future__ import annotations

import time
from typing import Any

from api.jobs.response import moment
from jobs.job import Priority
from jobs.pace import Pace


def as_queue(position: int, priority: Priority, pace: Pace | None) -> dict[str, Any]:
    """Return the contract's ``queue``: a place from 1 on, and times where a pace is known."""
    if pace is None:
        return {"position": position, "estimated_start": None, "estimated_finish": None}
    now = time.time() * 1000
    forecast = pace.forecast(position, priority)
    return {
        "position": position,
        "estimated_start": moment(round(now + forecast.start)),
        "estimated_finish": {
            "p50": moment(round(now + forecast.finish_p50)),
            "p90": moment(round(now + forecast.finish_p90)),
        },
    }
