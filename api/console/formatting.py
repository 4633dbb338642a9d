"""Times, and lengths of time, as people read them."""

from __future__ import annotations

from datetime import UTC, datetime


def span(milliseconds: float) -> str:
    """Return a length of time with the units that matter: `340 ms`, `4.2 s`, `3 min 5 s`, `2 h`."""
    if milliseconds < 1000:
        return f"{max(0, milliseconds):.0f} ms"
    seconds = milliseconds / 1000
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def clock(epoch_ms: int) -> str:
    """Return a time as `2026-11-25 19:04:05 UTC`; where scripts run, they show it in local time."""
    return f"{datetime.fromtimestamp(epoch_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
