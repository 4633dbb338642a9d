"""A semaphore whose units are given to tenants in turn, however many of one wait."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


class Crowded(Exception):
    """Raised when units cannot be had: too many wait already, or the wait was too long.

    ``own`` says that it is the tenant's own share that is used up, not what all have together.
    """

    def __init__(self, *, own: bool) -> None:
        super().__init__()
        self.own = own


@dataclass(eq=False)
class _Waiter:
    units: int
    granted: threading.Event = field(default_factory=threading.Event)


class FairSemaphore:
    """Gives out ``units``, at most ``of_one`` of them to one tenant; safe among threads.

    At most ``waiting`` wait at a time, ``waiting_of_one`` of one tenant. Whoever wants more units
    than there are, or than its tenant may hold, gets them once nobody, or no other of the tenant's,
    holds any.
    """

    def __init__(self, units: int, *, of_one: int, waiting: int, waiting_of_one: int) -> None:
        self._units = units
        self._of_one = of_one
        self._most_waiting = waiting
        self._most_waiting_of_one = waiting_of_one
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()
        # Its order is that of the turns.
        self._queues: dict[str, deque[_Waiter]] = {}

    @property
    def waiting(self) -> int:
        """How many wait."""
        with self._lock:
            return sum(map(len, self._queues.values()))

    @contextmanager
    def held(self, tenant: str, units: int = 1, *, timeout_s: float) -> Iterator[None]:
        """Hold units for the time of a block, as ``acquire`` and ``release`` do."""
        self.acquire(tenant, units, timeout_s=timeout_s)
        try:
            yield
        finally:
            self.release(tenant, units)

    def acquire(self, tenant: str, units: int = 1, *, timeout_s: float) -> None:
        """Wait for so many units, and at most so many seconds; raises Crowded."""
        waiter = _Waiter(units)
        with self._lock:
            self._queues.setdefault(tenant, deque()).append(waiter)
            self._grant()
            if waiter.granted.is_set():
                return
            own = len(self._queues[tenant]) > self._most_waiting_of_one
            if own or sum(map(len, self._queues.values())) > self._most_waiting:
                self._leave(tenant, waiter)
                raise Crowded(own=own)
        if waiter.granted.wait(timeout_s):
            return
        with self._lock:
            if waiter.granted.is_set():
                return
            # Its own turn may have to wait for another one of its tenant's.
            own = not self._is_within_share(tenant, self._queues[tenant][0].units)
            self._leave(tenant, waiter)
            raise Crowded(own=own)

    def release(self, tenant: str, units: int = 1) -> None:
        """Give back units that were acquired."""
        with self._lock:
            self._held[tenant] -= units
            self._held += Counter()  # forgets tenants that hold none
            self._grant()

    def _leave(self, tenant: str, waiter: _Waiter) -> None:
        self._queues[tenant].remove(waiter)
        if not self._queues[tenant]:
            del self._queues[tenant]
        self._grant()  # it may have stood before others

    def _grant(self) -> None:
        while (tenant := self._next()) is not None:
            queue = self._queues.pop(tenant)
            waiter = queue.popleft()
            if queue:
                self._queues[tenant] = queue
            self._held[tenant] += waiter.units
            waiter.granted.set()

    def _next(self) -> str | None:
        """Return the tenant whose turn it is; None where nobody can have what it waits for."""
        for tenant, queue in self._queues.items():
            units = queue[0].units
            if not self._is_within_share(tenant, units):
                continue
            held = self._held.total()
            # Nobody overtakes, or whoever wants much would wait for ever.
            return tenant if held == 0 or held + units <= self._units else None
        return None

    def _is_within_share(self, tenant: str, units: int) -> bool:
        held = self._held[tenant]
        return held == 0 or held + units <= self._of_one
