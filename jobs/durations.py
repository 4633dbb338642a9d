"""Durations as people write them: 500ms, 30s, 5m, 2h, 7d."""

from __future__ import annotations

import re

_FORM = re.compile(r"([1-9][0-9]{0,8})(ms|s|m|h|d)")
_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def milliseconds(text: str) -> int:
    """Return a duration in milliseconds; raises ValueError where the text is none."""
    found = _FORM.fullmatch(text)
    if not found:
        raise ValueError("not a duration such as 500ms, 30s, 5m, 2h or 7d")
    return int(found[1]) * _UNITS_MS[found[2]]
