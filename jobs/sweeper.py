"""The sweeper: repairs expired leases, deadlines and missing hints while time goes by."""

from __future__ import annotations

import redis
import structlog

from jobs.background import Background
from jobs.errors import JobsError
from jobs.hints import Hints
from jobs.lead import Lead
from jobs.ledger import Ledger
from jobs.memory import Memory
from jobs.settings import Settings

_log = structlog.get_logger()


class Sweeper(Background):
    """A thread that sweeps the ledger; of all sweepers on a store, one at a time does the work.

    Times are in milliseconds. After ``spare_after_ms`` in which none swept, the store was away and
    leases are spared.
    """

    def __init__(
        self,
        ledger: Ledger,
        hints: Hints,
        lead: Lead,
        memory: Memory,
        *,
        interval_ms: int,
        spare_after_ms: int,
    ) -> None:
        self._ledger = ledger
        self._hints = hints
        self._lead = lead
        self._memory = memory
        self._interval_ms = interval_ms
        self._spare_after_ms = spare_after_ms
        super().__init__("sweeper")

    def sweep(self) -> None:
        """Do one round: guard the memory, repair the ledger, publish the hints that are missing."""
        if self._memory.guard(10 * self._interval_ms):
            _log.error("store_memory_full")
        repaired = self._ledger.sweep(spare_after_ms=self._spare_after_ms)
        if repaired.leases_expired or repaired.ended:
            _log.warning("repaired", leases_expired=repaired.leases_expired, ended=repaired.ended)
        for model in self._ledger.models():
            missing = self._hints.missing(model, sum(self._ledger.queued(model).values()))
            if missing and self._hints.publish(model, missing):
                self._ledger.scripts.run("count", "republished_hints", missing)

    def _run(self) -> None:
        while not self._closed.wait(self._interval_ms / 1000):
            try:
                if self._lead.hold(3 * self._interval_ms):
                    self.sweep()
            except JobsError as error:
                _log.warning("sweep_failed", code=error.code)
            except Exception as error:  # noqa: BLE001 - a sweeper that dies would strand every job
                _log.error("sweep_failed", error=type(error).__name__, exc_info=True)


def sweeper(client: redis.Redis, ledger: Ledger, hints: Hints, settings: Settings) -> Sweeper:
    """Return a sweeper as the settings want it."""
    return Sweeper(
        ledger,
        hints,
        Lead(client, "sweeper"),
        Memory(client, settings.memory_limit_percent),
        interval_ms=settings.sweep_ms,
        spare_after_ms=max(settings.lease_ms // 2, 5 * settings.sweep_ms),
    )
