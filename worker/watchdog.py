"""The watchdog: ends a worker that has stopped working and does not know it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from jobs.background import Background
from jobs.errors import JobsError
from jobs.hints import Hints
from jobs.ledger import Ledger
from worker.engine.serving import Stepping
from worker.leases import Leases
from worker.tasks import Desk

INTERVAL_S = 1.0
_log = structlog.get_logger()


@dataclass(frozen=True)
class Patience:
    """How long each kind of silence is taken for work, in seconds."""

    step: float
    claim: float
    drain: float


class Watchdog(Background):
    """A thread that looks whether the engine steps and the consumer claims.

    An engine whose step never ends cannot be stopped from within its process: its jobs are counted
    as part of a crash, so that one that caused it comes to run alone. A consumer that hears no
    hints harms no job: what runs may end first. ``end`` ends the process; the supervisor starts
    another. ``beat`` is called before each look: whoever hears it knows that somebody looks.
    """

    def __init__(
        self,
        engine: Stepping,
        desk: Desk,
        leases: Leases,
        ledger: Ledger,
        hints: Hints,
        model: str,
        patience: Patience,
        end: Callable[[int], object] = os._exit,
        beat: Callable[[], object] = lambda: None,
    ) -> None:
        self._engine = engine
        self._desk = desk
        self._leases = leases
        self._ledger = ledger
        self._hints = hints
        self._model = model
        self._patience = patience
        self._end = end
        self._beat = beat
        self._content = time.monotonic()
        super().__init__("watchdog")

    def is_deaf(self) -> bool:
        """Whether work and room for it were seen at every look for too long, and none was claimed.

        Raises StoreUnavailable.
        """
        could_claim = (
            self._desk.claims.may_claim
            and len(self._leases.claims) < self._engine.slots
            and sum(self._ledger.queued(self._model).values()) > 0
            and self._hints.waiting(self._model) > 0
        )
        now = time.monotonic()
        if not could_claim:
            self._content = now
        return now - max(self._content, self._desk.claims.last) > self._patience.claim

    def _run(self) -> None:
        while not self._closed.wait(INTERVAL_S):
            self._beat()
            try:
                if self._engine.step_age > self._patience.step:
                    self._break_down()
                elif self.is_deaf():
                    self._leave()
            except JobsError:
                # The store is away, and once it is back the consumer needs its time to be, too.
                self._content = time.monotonic()

    def _break_down(self) -> None:
        _log.critical("engine_stalled", seconds=self._patience.step)
        self._desk.claims.stop()
        for claim in self._leases.claims:
            try:
                self._ledger.crash(claim, "engine_stalled")
            except JobsError as error:
                _log.error("crash_not_told", code=error.code)
        self._end(os.EX_SOFTWARE)

    def _leave(self) -> None:
        _log.critical("consumer_stalled", seconds=self._patience.claim)
        self._desk.claims.stop()
        self._desk.wait(self._patience.drain)
        self._leases.close()
        self._end(os.EX_SOFTWARE)
