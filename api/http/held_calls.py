"""How many calls are held open: each has a thread to itself, and the rest must stay free."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from functools import cache

from jobs.errors import ConnectionsFull, TooManyConnections


class Connections:
    """The calls that one API process holds open, at most ``most``, and ``most_of_one`` a tenant."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._open: Counter[str] = Counter()
        self._lock = threading.Lock()

    def hold(self, tenant: str) -> Callable[[], None]:
        """Count a call of a tenant's until the function that is returned has been called.

        Raises TooManyConnections, ConnectionsFull.
        """
        with self._lock:
            if self._open[tenant] >= self._most_of_one:
                raise TooManyConnections(
                    f"{self._most_of_one} of your calls are held open here; end some of them first",
                    retry_after=5,
                )
            if self._open.total() >= self._most:
                raise ConnectionsFull("too many calls are held open here; try again", retry_after=5)
            self._open[tenant] += 1

        @cache
        def let_go() -> None:
            with self._lock:
                self._open[tenant] -= 1
                self._open += Counter()  # forgets tenants that hold none

        return let_go

    def __len__(self) -> int:
        """How many are held open."""
        return self._open.total()
