"""Hints: Celery messages that say "there is work for this model" and carry no job.

Hints are interchangeable and disposable. One that is lost is published again by the sweeper; one
too many finds nothing to claim.
"""

from __future__ import annotations

import ssl
from typing import Any

import redis
import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from kombu.pools import ProducerPool

from jobs.errors import JobsError
from jobs.scripts import PREFIX
from jobs.store import sentinels_of, told_plainly

TASK = "worker.answer"
AT_MOST = 10_000
"""Hints of one model in the broker at a time; the sweeper tops them up while more jobs wait."""

_KEY_PREFIX = f"{PREFIX}broker:"
_CONNECTIONS = 10
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
            "visibility_timeout": 1800,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": 10,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 15,
            **(sentinels.broker_options if sentinels else {}),
        },
    )
    return app


class Hints:
    """Publishes hints, and counts those that no worker has taken yet."""

    def __init__(self, app: Celery, client: redis.Redis) -> None:
        self._app = app
        self._client = client
        # Celery's own pool is one per broker and process, which another part of it may close.
        self._connections = app.connection_for_write().Pool(_CONNECTIONS)
        self._producers = ProducerPool(self._connections, limit=_CONNECTIONS)

    def publish(self, model: str, count: int = 1) -> bool:
        """Publish hints, as far as there are not plenty already; False where the broker refused.

        Never raises: the ledger has the job, and the sweeper makes up for any hint that is missing.
        """
        try:
            count = min(count, AT_MOST - self.waiting(model))
            if count <= 0:
                return True
            with self._producers.acquire(block=True, timeout=3) as producer:
                for _ in range(count):
                    self._send(producer, model)
        except (JobsError, OperationalError, redis.RedisError, OSError) as error:
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
        """Close the connections to the broker."""
        self._producers.force_close_all()
        self._connections.force_close_all()
        self._app.close()

    def _send(self, producer: Any, model: str) -> None:
        self._app.send_task(TASK, queue=queue_of(model), producer=producer, ignore_result=True)
