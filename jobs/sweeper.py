"""The sweeper: repairs expired leases, deadlines and missing hints while time goes by."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable

import structlog

from jobs.background import Background
from jobs.errors import JobsError
from jobs.hints import Hints
from jobs.ledger import Ledger
from jobs.settings import Settings

SLICE = 50
"""Jobs that one script looks at: about five milliseconds of the store's."""
REST_S = 0.005
"""Between two of them, so that callers have half of the store's time at least."""

RETIRED_MS = 30 * 86_400_000
"""How long after its last claim a model that nobody serves is forgotten."""
RETIRE_EVERY_S = 3600
"""How often it is looked for such models: what goes after a month may be late by as much."""

_log = structlog.get_logger()


class Sweeper(Background):
    """A thread that sweeps the ledger; of all sweepers on a store, one at a time does the work.

    Times are in milliseconds. After ``spare_after_ms`` in which none swept, the store was away and
    leases are spared. ``monotonic`` returns seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        hints: Hints,
        *,
        interval_ms: int,
        spare_after_ms: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._hints = hints
        self._interval_s = interval_ms / 1000
        self._spare_after_ms = spare_after_ms
        self._monotonic = monotonic
        self._retire_at = monotonic()
        self._name = secrets.token_hex(8)
        super().__init__("sweeper")

    def sweep(self) -> bool:
        """Do one round: repair the ledger, publish missing hints, and forget unused models.

        Returns whether there is more to repair than an interval had time for.
        """
        has_more = self._repair()
        if has_more is None:
            return False
        for model in self._ledger.models():
            queued = sum(self._ledger.queued(model).values())
            missing = self._hints.missing(model, queued)
            if missing and self._hints.publish(model, missing):
                self._ledger.scripts.run("count", "republished_hints", missing)
        if self._monotonic() >= self._retire_at:
            self._retire()
        return has_more

    def _retire(self) -> None:
        for model in self._ledger.models():
            self._ledger.scripts.run("retire", model, RETIRED_MS)
        self._retire_at = self._monotonic() + RETIRE_EVERY_S

    def _repair(self) -> bool | None:
        """Sweep slice by slice until nothing is left, for an interval at most.

        Returns whether there is more; None where another process leads.
        """
        repaired = Counter[str]()
        give_up = self._monotonic() + self._interval_s
        while True:
            swept = self._ledger.sweep(
                SLICE,
                self._spare_after_ms,
                sweeper=self._name,
                lead_ms=round(3000 * self._interval_s),
            )
            if not swept.leads:
                return None
            repaired += Counter(leases_expired=swept.leases_expired, ended=swept.ended)
            for job_id in swept.broken:
                _log.error("record_not_swept", job=job_id)
            if not swept.has_more or self._monotonic() > give_up or self._closed.wait(REST_S):
                break
        if swept.memory_is_full:
            _log.error("store_memory_full")
        if repaired:
            _log.warning("repaired", **repaired)
        return swept.has_more

    def _run(self) -> None:
        is_behind = False
        while not self._closed.wait(0 if is_behind else self._interval_s):
            is_behind = False
            try:
                is_behind = self.sweep()
            except JobsError as error:
                _log.warning("sweep_failed", code=error.code)
            except Exception as error:  # noqa: BLE001 - a sweeper that dies would strand every job
                _log.error("sweep_failed", error=type(error).__name__, exc_info=True)


def sweeper(ledger: Ledger, hints: Hints, settings: Settings) -> Sweeper:
    """Return a sweeper as the settings want it."""
    return Sweeper(
        ledger,
        hints,
        interval_ms=settings.sweep_ms,
        spare_after_ms=max(settings.lease_ms // 2, 5 * settings.sweep_ms),
    )
