"""What happens to jobs, heard as it happens; hearing is best effort, the ledger is the truth."""

from __future__ import annotations

from collections.abc import Callable

import redis
import structlog

from jobs.background import Background
from jobs.scripts import PREFIX

CHANGES = f"{PREFIX}changes"
"""Channel of ``<job id> <status> <tenant>`` for every change, and of ``<job id> cancel`` and
``<job id> listen`` for its worker."""

_LOOK_S = 0.2
"""How often it looks whether it was closed: a process that ends waits for that."""

_log = structlog.get_logger()


class Changes(Background):
    """A thread that calls ``heard(job id, status or word, tenant or "")`` at every change."""

    def __init__(self, client: redis.Redis, heard: Callable[[str, str, str], None]) -> None:
        self._client = client
        self._heard = heard
        super().__init__("changes")

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._listen()
            except redis.RedisError as error:
                _log.warning("changes_not_heard", error=type(error).__name__)
                self._closed.wait(0.5)

    def _listen(self) -> None:
        with self._client.pubsub(ignore_subscribe_messages=True) as channel:
            channel.subscribe(CHANGES)
            while not self._closed.is_set():
                message = channel.get_message(timeout=_LOOK_S)
                if message:
                    job_id, word, *tenant = message["data"].decode().split(" ")
                    self._heard(job_id, word, *tenant or [""])
