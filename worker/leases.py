"""The leases of one worker: renewed by a thread of their own, so that they outlive a drain."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import structlog

from jobs.background import Background
from jobs.drain import Drain
from jobs.errors import JobsError
from jobs.job import Claim
from jobs.ledger import Ledger

_log = structlog.get_logger()


class Stop(Enum):
    """Why a running job is to be stopped."""

    LOST = "lost"
    """Another worker has it, or it has ended: its outcome is nobody's."""
    UNWANTED = "unwanted"
    """Its tenant canceled it."""
    DRAIN = "drain"
    """This worker is leaving: the job goes back."""


@dataclass
class _Held:
    claim: Claim
    stop: Stop | None = None
    halt: Callable[[], object] | None = None


class Leases(Background):
    """What a worker holds, kept alive until it is let go.

    Held by fencing token, not by job: a worker that was silent for too long may be given a job
    anew before it has let go of the claim that it lost. At each renewal ``on_drain`` is told
    whether the worker is to claim nothing.
    """

    def __init__(
        self,
        ledger: Ledger,
        model: str,
        worker: str,
        renew_ms: int,
        facts: Callable[[], Mapping[str, Any]],
        on_drain: Callable[[bool], object] = lambda _: None,
    ) -> None:
        self._ledger = ledger
        self._model = model
        self._worker = worker
        self._renew_ms = renew_ms
        self._facts = facts
        self._on_drain = on_drain
        self._is_drained = False
        self._held: dict[int, _Held] = {}
        self._lock = threading.Condition()
        super().__init__("leases")

    def start(self) -> None:
        """Make the worker known and begin to renew."""
        self._renew()
        super().start()

    def close(self) -> None:
        """Stop renewing and take the worker off the list of live ones."""
        super().close()
        try:
            self._ledger.leave(self._worker, self._model)
        except JobsError as error:
            _log.warning("leave_failed", code=error.code)

    def hold(self, claim: Claim) -> None:
        """Renew a claim from now on."""
        with self._lock:
            self._held[claim.fence] = _Held(claim)

    def on_stop(self, claim: Claim, halt: Callable[[], object]) -> None:
        """Have ``halt`` called when a job is to be stopped; at once where it is already."""
        with self._lock:
            held = self._held[claim.fence]
            held.halt = halt
            stopping = held.stop is not None
        if stopping:
            halt()

    def drop(self, claim: Claim) -> None:
        """Renew a claim no longer."""
        with self._lock:
            self._held.pop(claim.fence, None)
            self._lock.notify_all()

    def why_stopped(self, claim: Claim) -> Stop | None:
        """Return why a held job was told to stop; None where it was not."""
        with self._lock:
            return self._held[claim.fence].stop

    @property
    def claims(self) -> list[Claim]:
        """What is held."""
        with self._lock:
            return [held.claim for held in self._held.values()]

    def wait_empty(self, seconds: float) -> bool:
        """Wait until nothing is held; False where ``seconds`` passed first."""
        with self._lock:
            return self._lock.wait_for(lambda: not self._held, timeout=seconds)

    def stop_all(self, why: Stop) -> None:
        """Tell every held job to stop."""
        with self._lock:
            held = list(self._held)
        for fence in held:
            self._stop(fence, why)

    def heard(self, job_id: str, word: str, tenant: str) -> None:
        """Stop a held job the moment its cancellation is told, rather than at the next renewal."""
        del tenant
        if word == "cancel":
            self._stop_job(job_id, Stop.UNWANTED)

    def _stop_job(self, job_id: str, why: Stop) -> None:
        with self._lock:
            fences = [f for f, held in self._held.items() if held.claim.job.id == job_id]
        for fence in fences:
            self._stop(fence, why)

    def _stop(self, fence: int, why: Stop) -> None:
        with self._lock:
            held = self._held.get(fence)
            if held is None or held.stop is not None:
                return
            held.stop = why
            halt = held.halt
        if halt:
            halt()

    def _run(self) -> None:
        while not self._closed.wait(self._renew_ms / 1000):
            try:
                self._renew()
            except JobsError as error:
                _log.warning("renewal_failed", code=error.code)
            except Exception as error:  # noqa: BLE001 - without this thread every lease would lapse
                _log.error("renewal_failed", error=type(error).__name__, exc_info=True)

    def _obey(self, drain: Drain | None) -> None:
        if (drain is not None) is not self._is_drained:
            _log.info("worker_resumed" if drain is None else "worker_drained", worker=self._worker)
        self._is_drained = drain is not None
        self._on_drain(self._is_drained)
        if drain is Drain.HAND_BACK:
            self.stop_all(Stop.DRAIN)

    def _renew(self) -> None:
        with self._lock:
            newest: dict[str, int] = {}
            for fence, held in self._held.items():
                job_id = held.claim.job.id
                newest[job_id] = max(fence, newest.get(job_id, 0))
            older = self._held.keys() - newest.values()
        facts = {**self._facts(), "drained": True} if self._is_drained else self._facts()
        renewal = self._ledger.renew(self._worker, self._model, facts, newest)
        self._obey(renewal.drain)
        for fence in older | {newest[job_id] for job_id in renewal.lost}:
            self._stop(fence, Stop.LOST)
        for job_id in renewal.unwanted:
            self._stop(newest[job_id], Stop.UNWANTED)
