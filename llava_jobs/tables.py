"""Tables in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from unicodedata import east_asian_width


def print_table(rows: Sequence[tuple[str, ...]], say: Callable[[str], object]) -> None:
    """Print rows in aligned columns, the wide characters of Chinese counted as two."""
    widths = [max(_width(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [cell + " " * (w - _width(cell)) for cell, w in zip(row, widths, strict=True)]
        say("  ".join(cells).rstrip())


def _width(text: str) -> int:
    return sum(2 if east_asian_width(c) in "WF" else 1 for c in text)
