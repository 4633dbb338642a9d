"""The account that a worker gives of its attempts at jobs: in lines of log, spans and metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from structlog.contextvars import bound_contextvars

from jobs.job import Job
from jobs.tracing import Tracer, trace_id
from worker.engine import Result


class Account:
    """``answered`` hears of each answer that the engine gives."""

    def __init__(
        self,
        worker: str,
        tracer: Tracer | None = None,
        answered: Callable[[Result], object] = lambda _: None,
    ) -> None:
        self._worker = worker
        self._tracer = tracer or Tracer()
        self._answered = answered

    @contextmanager
    def attempt(self, job: Job) -> Iterator[None]:
        """Have lines of log and spans say which attempt at which job they are about."""
        names: dict[str, str | int] = {
            "job": job.id,
            "attempt": len(job.attempts),
            "worker": self._worker,
            "tenant": job.tenant,
        }
        *before, last = job.attempts
        queued_at = (before[-1].ended_at if before else None) or job.created_at
        self._tracer.past("wait", queued_at, last.started_at, job.trace, **names)
        with self._tracer.span("attempt", job.trace, **names) as context:
            trace = trace_id(context)
            with bound_contextvars(**names, **({"trace": trace} if trace else {})):
                yield

    def answer(self, result: Result) -> None:
        """Tell where the time of an answer went that came just now."""
        self._answered(result)
        timing, now = result.timing, time.time() * 1000
        seeing = now - timing.generate_ms - timing.vision_ms
        prepared = seeing - timing.wait_ms
        self._tracer.past("prepare", prepared - timing.preprocess_ms, prepared)
        self._tracer.past("generate", seeing, now)

    def finish(self) -> AbstractContextManager[object]:
        """Measure the end of a job."""
        return self._tracer.span("finish")
