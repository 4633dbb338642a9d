"""The worker's Celery application: one task, and the step that loads the engine first."""

from __future__ import annotations

from typing import Protocol

from celery import Celery
from kombu import Queue

from jobs.hints import TASK, celery_app, queue_of
from jobs.logs import configure_logs
from jobs.settings import Settings
from worker.broker import HintConnection
from worker.engine.serving import Serving
from worker.step import EngineStep


class Engines(Protocol):
    """Where a worker has its engine from: worker.loading, or a test's own."""

    def slots(self, settings: Settings) -> int:
        """Return how many jobs the engine takes at the same time."""

    def load_engine(self, settings: Settings) -> Serving:
        """Return the engine, warm; raises ModelError."""


def create_app(settings: Settings, engines: Engines) -> Celery:
    """Return the application of a worker that serves the model in ``settings``.

    Raises ConfigurationError where no store is set.
    """
    configure_logs()
    app = celery_app(settings.required_redis_url)
    at_once = engines.slots(settings)
    # Reckoned once: threads and engine must agree, and free memory changes while a model loads.
    app.settings = settings.model_copy(update={"slots": at_once})
    app.load_engine = engines.load_engine
    app.amqp.Connection = HintConnection
    app.conf.worker_concurrency = at_once
    app.conf.task_queues = [Queue(queue_of(settings.served_model))]
    app.steps["worker"].add(EngineStep)

    @app.task(name=TASK, ignore_result=True, acks_late=True)
    def answer() -> None:
        """Answer the next job: the hint says only that there is one."""
        app.desk.answer_next()

    return app
