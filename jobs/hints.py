"""Hints: Celery messages that say "there is work for this model" and carry no job.

Hints are interchangeable and disposable. One that is lost is published again by the sweeper; one
too many finds nothing to claim.
"""

from __future__ import annotations

import json
import ssl
import uuid

import redis
import structlog
from celery import Celery
from kombu import Connection

from jobs.errors import JobsError
from jobs.scripts import PREFIX, Scripts
from jobs.store import sentinels_of, told_plainly

TASK = "worker.answer"
AT_MOST = 10_000
"""Hints of one model in the broker at a time; the sweeper tops them up while more jobs wait."""

_KEY_PREFIX = f"{PREFIX}broker:"
_NO_ID = str(uuid.UUID(int=0))
_log = structlog.get_logger()


def queue_of(model: str) -> str:
    """Return the Celery queue that carries the hints of a model."""
    return f"hints.{model}"


def celery_app(redis_url: str) -> Celery:
    """Return a Celery application set up as both sides need it.

    Each value is there for a failure that was seen without it; docs/architecture.md has the table.
    Raises ConfigurationError where ``redis_url`` is no URL of a store.
    """
    sentinels = sentinels_of(redis_url)
    broker = sentinels.broker_url if sentinels else redis_url
    tls = {"ssl_cert_reqs": ssl.CERT_REQUIRED, **(sentinels.tls if sentinels else {})}
    app = Celery("llava-jobs", broker=broker, set_as_current=False)
    app.conf.update(
        # Without it kombu takes any certificate; what the URL says of TLS comes on top.
        broker_use_ssl=tls if redis_url.startswith("rediss") else None,
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_publish_retry=False,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        worker_pool="threads",
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,
        broker_connection_timeout=3,
        broker_transport_options={
            "global_keyprefix": _KEY_PREFIX,
            "socket_timeout": 10,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 15,
            **(sentinels.broker_options if sentinels else {}),
        },
    )
    return app


class Hints:
    """Publishes hints, and counts those that no worker has taken yet.

    Celery takes a millisecond to write a message, and hints differ in their ids alone: it writes
    one for each model, and what is published are copies of that.
    """

    def __init__(self, app: Celery, client: redis.Redis) -> None:
        self._app = app
        self._client = client
        self._run = Scripts(client).run
        self._written: dict[str, str] = {}

    def new(self, model: str) -> str:
        """Return a hint that has not been published."""
        if model not in self._written:
            self._written[model] = _written(self._app, model)
        return self._written[model].replace(_NO_ID, str(uuid.uuid4()))

    def publish(self, model: str, count: int = 1) -> bool:
        """Publish hints and drop what is more than plenty; False where the broker refused.

        Never raises: the ledger has the job, and the sweeper makes up for any hint that is missing.
        """
        hints = [self.new(model) for _ in range(min(count, AT_MOST))]
        try:
            self._run("hint", queue_of(model), AT_MOST, *hints)
        except (JobsError, redis.RedisError, OSError) as error:
            _log.warning("hint_not_published", model=model, error=type(error).__name__)
            return False
        return True

    def waiting(self, model: str) -> int:
        """Return how many hints of a model wait in the broker; raises StoreUnavailable."""
        with told_plainly():
            return int(self._client.llen(f"{_KEY_PREFIX}{queue_of(model)}"))

    def missing(self, model: str, queued: int) -> int:
        """Return how many hints must be published so that ``queued`` jobs will be claimed."""
        return max(0, min(queued, AT_MOST) - self.waiting(model))

    def close(self) -> None:
        """Close what Celery holds."""
        self._app.close()


def _written(app: Celery, model: str) -> str:
    """Return a hint as Celery writes it to any broker, under ``_NO_ID``."""
    queue = queue_of(model)
    with Connection("memory://") as memory:
        app.send_task(TASK, task_id=_NO_ID, queue=queue, connection=memory, ignore_result=True)
        message = memory.default_channel._get(queue)  # as it lies in a queue
    message["properties"]["delivery_tag"] = _NO_ID
    return json.dumps(message)
