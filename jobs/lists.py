"""Settings that are lists."""

from __future__ import annotations


def listed(text: str) -> tuple[str, ...]:
    """Return the items of a setting that is a list, separated by commas or spaces."""
    return tuple(text.replace(",", " ").lower().split())
