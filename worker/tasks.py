"""Answering one job: the only place where job words become engine words, and back."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from functools import partial

import structlog

from jobs.errors import JobsError, StoreUnavailable, as_data
from jobs.image_store import ImageStore
from jobs.job import Claim, Job, Outcome, Reason, Status
from jobs.ledger import Ledger
from jobs.request import ImagePart
from worker.account import Account
from worker.claims import Claims
from worker.engine import (
    EngineClosed,
    EngineError,
    EngineFailed,
    InvalidRequest,
    Picture,
    Request,
    Result,
    Turn,
)
from worker.engine.serving import Answering
from worker.leases import Leases, Stop
from worker.narrator import Narrator
from worker.policy import Guard, PolicyFailed, Refusal

_log = structlog.get_logger()

STORE_AGAIN_S = 0.5
"""Between two tries to tell a store that is away how a job ended."""
HAND_BACK_S = 10.0
"""How long a worker that leaves takes to hand back what it has not ended."""
FIRST_BACKOFF_MS, LONGEST_BACKOFF_MS = 2_000, 60_000


class Desk:
    """Claims a job for each hint, has it answered and ends it in the ledger.

    ``narrator`` tells what jobs say meanwhile; ``give_up`` is called when the engine is broken and
    this process should be replaced. ``guard`` refuses what the content policy does not want;
    ``account`` tells of what is done.
    """

    def __init__(
        self,
        ledger: Ledger,
        images: ImageStore,
        engine: Answering,
        leases: Leases,
        narrator: Narrator,
        model: str,
        worker: str,
        give_up: Callable[[], object],
        *,
        guard: Guard | None = None,
        account: Account | None = None,
    ) -> None:
        self._ledger = ledger
        self._images = images
        self._engine = engine
        self._leases = leases
        self._narrator = narrator
        self._give_up = give_up
        self._guard = guard
        self._account = account or Account(worker)
        self._has_left = threading.Event()
        self.claims = Claims(ledger, model, worker)

    def wait(self, seconds: float) -> None:
        """Let running jobs end within ``seconds``, then have the rest handed back."""
        if not self._leases.wait_empty(seconds):
            self._leases.stop_all(Stop.DRAIN)
            self._leases.wait_empty(HAND_BACK_S)
        self._has_left.set()

    def answer_next(self) -> None:
        """Claim and answer one job, where there is one; never raises.

        After one that ran alone comes the next that is to: its hint may have gone to a worker that
        may not run it.
        """
        claim = self.claims.next()
        while claim:
            self._carry_out(claim)
            claim = self.claims.next() if claim.alone else None

    def _carry_out(self, claim: Claim) -> None:
        """Answer a job; never raises: a task that does is never acknowledged and keeps its slot."""
        self._leases.hold(claim)
        self._narrator.attend(claim)
        with self._account.attempt(claim.job):
            try:
                self._settle(claim)
            except BaseException as error:  # noqa: BLE001 - MemoryError and SystemExit, too
                _log.error("job_not_settled", error=type(error).__name__, exc_info=True)
                failure = as_data("internal_error", "the worker failed on this job")
                self._patiently(lambda: self._ledger.retry(claim, backoff_ms(claim.job), failure))
            finally:
                self._narrator.leave(claim)
                self._leases.drop(claim)
                if not self._leases.claims:
                    self.claims.free()

    def _settle(self, claim: Claim) -> None:
        try:
            outcome = self._answer(claim)
        except EngineFailed as error:
            _log.error("engine_failed", code=error.code)
            # A job that was in the batch may be what broke it, and comes to run alone; one that
            # found the engine closed is as it was.
            was_in_it = not isinstance(error, EngineClosed)
            self._patiently(
                partial(self._ledger.crash, claim, error.code)
                if was_in_it
                else partial(self._ledger.hand_back, claim)
            )
            self.claims.stop()
            self._give_up()
            return
        except StoreUnavailable as error:
            # Its pictures could not be read now: that is no fault of the job's.
            _log.warning("job_handed_back", code=error.code)
            self._patiently(lambda: self._ledger.hand_back(claim))
            return
        except (InvalidRequest, JobsError) as error:
            outcome = Outcome(Status.FAILED, Reason.ERROR, error=as_data(error.code, error.message))
        except (EngineError, PolicyFailed) as error:
            failure = as_data(error.code, error.message)
            _log.warning("job_retried", code=error.code)
            self._patiently(lambda: self._ledger.retry(claim, backoff_ms(claim.job), failure))
            return
        if outcome is None:
            self._patiently(lambda: self._ledger.hand_back(claim))
            _log.info("job_handed_back")
        elif self._finished(claim, outcome):
            _log.info("job_finished", status=outcome.status, reason=outcome.reason)
        else:
            _log.warning("claim_lost")

    def _answer(self, claim: Claim) -> Outcome | None:
        """Return how the job ended; None where it goes back unanswered."""
        job, guard = claim.job, self._guard
        request = to_request(job, self._images)
        if guard and (refusal := guard.before(request)):
            return to_refused(refusal)
        handle = self._engine.submit(request)
        self._leases.on_stop(claim, handle.cancel)
        if not (guard and guard.judges_answers):
            self._narrator.hear(claim, handle.listen)
        result = handle.future.result()
        self._account.answer(result)
        stopped = self._leases.why_stopped(claim)
        if result.finish_reason == "canceled" and stopped is not Stop.UNWANTED:
            return None
        outcome = to_outcome(job, result)
        if guard and outcome.answer and (refusal := guard.after(request, result.text)):
            return to_refused(refusal, outcome)
        return outcome

    def _finished(self, claim: Claim, outcome: Outcome) -> bool:
        with self._account.finish():
            return self._patiently(lambda: self._ledger.finish(claim, outcome))

    def _patiently(self, change: Callable[[], bool]) -> bool:
        """Make a change in the ledger, waiting for a store that is away until this worker leaves.

        The lease may run out meanwhile; the fencing token then refuses the change.
        """
        while True:
            try:
                return change()
            except StoreUnavailable:
                if self._has_left.wait(STORE_AGAIN_S):
                    _log.error("store_away")
                    return False


def backoff_ms(job: Job) -> int:
    """Return how long a job that failed for a passing reason waits for its next try.

    Full jitter, so that jobs which failed together do not come back together
    (aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter).
    """
    tried = sum(attempt.outcome == "retried" for attempt in job.attempts)
    return round(random.uniform(0, min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2**tried)))  # noqa: S311 - spreads load, guards nothing


def to_request(job: Job, images: ImageStore) -> Request:
    """Return what the engine is asked for a job; raises ImageExpired, StoreUnavailable."""

    def part(value: str | ImagePart) -> str | Picture:
        if isinstance(value, str):
            return value
        return Picture(images.get(job.tenant, value.digest), value.digest, value.detail)

    # Both by the store's clock, so that this machine's does not matter.
    left_ms = job.due_at - job.attempts[-1].started_at
    asked = job.parameters
    return Request(
        conversation=tuple(
            Turn(turn.role, tuple(map(part, turn.parts))) for turn in job.conversation.turns
        ),
        scope=job.tenant,
        max_new_tokens=asked.max_new_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        seed=asked.seed,
        stop=asked.stop,
        deadline=time.monotonic() + left_ms / 1000,
    )


def to_outcome(job: Job, result: Result) -> Outcome:
    """Return how a job ended, from what the engine brought."""
    usage = {
        "prompt_tokens": result.prompt_tokens,
        "cached_tokens": result.cached_tokens,
        "completion_tokens": result.completion_tokens,
    }
    timing = {
        "queue_ms": (job.started_at or job.created_at) - job.created_at,
        "preprocess_ms": round(result.timing.preprocess_ms, 1),
        "vision_ms": round(result.timing.vision_ms, 1),
        "generate_ms": round(result.timing.generate_ms, 1),
    }
    if result.finish_reason == "deadline":
        reason = Reason.DEADLINE if job.has_deadline else Reason.EXPIRED
        return Outcome(Status.FAILED, reason, usage=usage, timing=timing)
    if result.finish_reason == "canceled":
        receipt = {"tokens_after_request": result.tokens_after_cancel}
        return Outcome(
            Status.CANCELED, Reason.CANCELED, usage=usage, timing=timing, receipt=receipt
        )
    answer = {"text": result.text, "finish_reason": result.finish_reason}
    return Outcome(Status.SUCCEEDED, answer=answer, usage=usage, timing=timing)


def to_refused(refusal: Refusal, answered: Outcome | None = None) -> Outcome:
    """Return how a job that the content policy refuses ended; of an answer its cost alone."""
    error = {**as_data("refused", refusal.message), "rule": refusal.rule}
    usage, timing = (answered.usage, answered.timing) if answered else (None, None)
    return Outcome(Status.FAILED, Reason.REFUSED, error=error, usage=usage, timing=timing)
