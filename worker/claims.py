"""When a worker claims: with each hint it asks the ledger for a job, unless it is to wait."""

from __future__ import annotations

import threading
import time
from typing import Literal

import structlog

from jobs.errors import JobsError
from jobs.job import WAIT, Claim
from jobs.ledger import Ledger

ASK_AGAIN_S = 1.0
"""How often a worker that is to run a job alone asks for it, where it sees no reason to."""

_log = structlog.get_logger()


class Claims:
    """What a worker's threads ask for, each with a hint in hand."""

    def __init__(self, ledger: Ledger, model: str, worker: str) -> None:
        self._ledger = ledger
        self._model = model
        self._worker = worker
        self._has_stopped = threading.Event()
        self._may_claim = threading.Event()
        self._may_claim.set()
        self._one_asks = threading.Lock()
        self._is_free = threading.Event()
        self.last = time.monotonic()

    @property
    def may_claim(self) -> bool:
        """Whether this worker is to claim at all."""
        return self._may_claim.is_set()

    def stop(self) -> None:
        """Claim no further jobs; whoever waits with a hint lets it go."""
        self._has_stopped.set()
        self._may_claim.set()
        self._is_free.set()

    def rest(self, resting: bool) -> None:
        """Claim nothing while resting, and keep the hints that come; then go on with them.

        As many are kept as there are slots. The sweeper publishes others in their place, and this
        worker's broker gives it no more of those.
        """
        if not resting and not self.may_claim:
            self.last = time.monotonic()
            self._may_claim.set()
        elif resting:
            self._may_claim.clear()
            if self._has_stopped.is_set():  # whoever waits is to leave
                self._may_claim.set()

    def free(self) -> None:
        """Know that this worker holds nothing, and so can run a job alone."""
        self._is_free.set()

    def next(self) -> Claim | None:
        """Claim the next job, once this worker may; None where there is none."""
        self._may_claim.wait()
        reply = WAIT if self._one_asks.locked() else self._ask()
        return self._next_alone() if reply == WAIT else reply

    def _next_alone(self) -> Claim | None:
        """Keep the hint until the ledger has a job for it; of all that wait so, one asks."""
        with self._one_asks:
            while True:
                self._is_free.clear()
                reply = self._ask()
                if reply != WAIT:
                    return reply
                self._is_free.wait(ASK_AGAIN_S)

    def _ask(self) -> Claim | Literal["wait"] | None:
        self.last = time.monotonic()
        if self._has_stopped.is_set():
            return None
        try:
            return self._ledger.ask(self._model, self._worker)
        except JobsError as error:
            _log.warning("claim_failed", code=error.code)
            return None
