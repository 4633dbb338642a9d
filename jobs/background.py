"""What a process does beside its calls or jobs: threads that go on until they are closed."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

_END_S = 15.0


class Background(ABC):
    """A thread named ``name``, which runs until it is closed, or the process ends."""

    def __init__(self, name: str) -> None:
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Have it end after what it is at, and wait for that for 15 seconds at most."""
        self._closed.set()
        self._wake()
        if self._thread.is_alive():
            self._thread.join(timeout=_END_S)

    def _wake(self) -> None:  # noqa: B027 - most wait for nothing but ``_closed``
        """Have a thread that waits for something else see that it was closed."""

    @abstractmethod
    def _run(self) -> None:
        """Go on until ``_closed`` is set."""
