"""The worker's Celery application: one task, and the step that loads the engine first."""

from __future__ import annotations

from celery import Celery
from kombu import Queue

from jobs.hints import TASK, celery_app, queue_of
from jobs.logs import configure_logs
from jobs.settings import Settings
from worker.hardware import slots
from worker.step import EngineStep


def create_app(settings: Settings) -> Celery:
    """Return the application of a worker that serves the model in ``settings``.

    Raises ConfigurationError where no store is set.
    """
    configure_logs()
    app = celery_app(settings.required_redis_url)
    at_once = slots(settings)
    # Reckoned once: threads and engine must agree, and free memory changes while a model loads.
    app.settings = settings.model_copy(update={"slots": at_once})
    app.conf.worker_concurrency = at_once
    app.conf.task_queues = [Queue(queue_of(settings.served_model))]
    app.steps["worker"].add(EngineStep)

    @app.task(name=TASK, ignore_result=True, acks_late=True)
    def answer() -> None:
        """Answer the next job: the hint says only that there is one."""
        app.desk.answer_next()

    return app
