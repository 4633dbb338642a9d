"""The sweeper: repairs expired leases, deadlines and missing hints while time goes by."""

from __future__ import annotations

import secrets
import threading

import structlog

from jobs.errors import JobsError
from jobs.hints import Hints
from jobs.ledger import Ledger

_log = structlog.get_logger()


class Sweeper:
    """A thread that sweeps the ledger; of all sweepers on a store, one at a time does the work."""

    def __init__(self, ledger: Ledger, hints: Hints, interval_ms: int) -> None:
        self._ledger = ledger
        self._hints = hints
        self._interval_ms = interval_ms
        self._name = secrets.token_hex(8)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Begin to sweep in the background."""
        self._thread.start()

    def close(self) -> None:
        """Stop sweeping; another sweeper takes over within three intervals."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=15)

    def sweep(self) -> None:
        """Do one round: repair the ledger, then publish the hints that are missing."""
        repaired = self._ledger.sweep()
        if repaired.leases_expired or repaired.ended:
            _log.warning("repaired", leases_expired=repaired.leases_expired, ended=repaired.ended)
        for model in self._ledger.models():
            missing = self._hints.missing(model, sum(self._ledger.queued(model).values()))
            if missing:
                self._hints.publish(model, missing)

    def _run(self) -> None:
        while not self._stop.wait(self._interval_ms / 1000):
            try:
                if self._ledger.lead(self._name, 3 * self._interval_ms):
                    self.sweep()
            except JobsError as error:
                _log.warning("sweep_failed", code=error.code)
            except Exception as error:  # noqa: BLE001 - a sweeper that dies would strand every job
                _log.error("sweep_failed", error=type(error).__name__, exc_info=True)
