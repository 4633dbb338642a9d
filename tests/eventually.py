"""Waiting for something that another thread or process does, up to a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE_S = 180.0
"""How long to wait for what must come: on any machine, only a hang takes so long."""


def eventually(look: Callable[[], T | None], what: str, within_s: float = PATIENCE_S) -> T:
    """Return the first true thing that `look` returns; fails where none came in time."""
    give_up = time.monotonic() + within_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > give_up:
            raise AssertionError(f"not within {within_s:g} s: {what}")
        time.sleep(0.01)
