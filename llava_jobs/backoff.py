"""How long a client waits before it makes a call again, and when it gives up."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from jobs.retry_after import asked_ms

_FIRST_S = 0.5
_LONGEST_S = 8.0


class Backoff:
    """Waits between the tries of one call: longer each time, drawn at random, within a budget.

    Random times below the bound ("full jitter") keep the callers of a server that was away from
    coming back all at once. ``patience_s`` is the budget, counted from here or from ``restart``.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self.restart()

    def restart(self) -> None:
        """Begin anew, as after a success."""
        self._tries = 0
        self._give_up = time.monotonic() + self._patience_s

    def wait(self, at_least_s: float = 0.0) -> bool:
        """Sleep before the next try; False, at once, where the budget ends before that."""
        left = self._give_up - time.monotonic()
        if left <= 0 or at_least_s > left:
            return False
        longest = min(_LONGEST_S, _FIRST_S * 2 ** min(self._tries, 10))
        self._tries += 1
        time.sleep(min(at_least_s + random.uniform(0, longest), left))  # noqa: S311 - no secret
        return True


def retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds that a ``Retry-After`` asks for; 0 where there is none that can be read.

    A date is counted from the response's own ``Date``, as clocks differ.
    """
    try:
        now_s = parsedate_to_datetime(headers.get("Date", "")).timestamp()
    except ValueError:
        now_s = time.time()
    return asked_ms(headers.get("Retry-After", ""), now_s) / 1000
