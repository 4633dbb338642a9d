"""The sender: tells receivers how jobs ended, signed as Standard Webhooks has it."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from ipaddress import ip_network

import redis
import structlog
from standardwebhooks import Webhook as Signer

from jobs.deliveries import Deliveries, Delivery, Verdict
from jobs.errors import JobsError
from jobs.lists import listed
from jobs.outbound import Outbound
from jobs.reach import Rules, Unreached
from jobs.retry_after import asked_ms
from jobs.settings import Settings
from jobs.tracing import Tracer, trace_id, tracer
from jobs.webhook_secrets import WebhookSecrets

FIRST_WAIT_MS = 10_000
LONGEST_WAIT_MS = 6 * 3600 * 1000
_GROWTH = 4
_POLL_S = 0.2
_GONE = 410
_BUSY = frozenset({429, 503})
"""What a receiver answers that may say when it wants to be asked again."""

_log = structlog.get_logger()


def wait_ms(tries: int, draw: Callable[[], float] = random.random) -> int:
    """Return how long to wait after so many attempts: between nothing and a growing bound.

    The bounds are 10 s, 40 s, and so on to six hours. ``draw`` returns a number in [0, 1): full
    jitter, so that what failed together does not come back together.
    """
    bound = min(FIRST_WAIT_MS * _GROWTH ** (min(tries, 10) - 1), LONGEST_WAIT_MS)
    return 1000 + int(draw() * bound)


class Sender:
    """Sends what is due with ``slots`` threads; of several senders, each sends its share.

    ``to_one_host`` and ``of_one_tenant`` are as in Deliveries.claim. ``link`` is what comes before
    a job's path in the body. ``clock`` returns seconds since the epoch, for signatures. A receiver
    is told of the trace that its job is part of. ``beat`` is called at each look at what is due.
    """

    def __init__(
        self,
        deliveries: Deliveries,
        secrets: WebhookSecrets,
        outbound: Outbound,
        *,
        slots: int = 64,
        to_one_host: int = 4,
        of_one_tenant: int = 32,
        link: str = "",
        clock: Callable[[], float] = time.time,
        beat: Callable[[], object] = lambda: None,
        tracing: Tracer | None = None,
    ) -> None:
        self._deliveries = deliveries
        self._secrets = secrets
        self._outbound = outbound
        self._slots = slots
        self._bounds = {"to_one_host": to_one_host, "of_one_tenant": of_one_tenant}
        # Long enough that a name may resolve slowly besides, and the outcome be noted.
        self._lease_ms = round(outbound.rules.timeout_s * 2000) + 30_000
        self._link = link
        self._clock = clock
        self._beat = beat
        self._tracer = tracing or Tracer()
        self._stopping = False
        self._changed = threading.Event()
        self._lock = threading.Lock()
        self._under_way = 0

    def run(self) -> None:
        """Send until ``stop``; then let what is under way come to its end."""
        with ThreadPoolExecutor(self._slots, "sender") as pool:
            while not self._stopping:
                self._beat()
                self._changed.clear()
                for delivery in self.due():
                    with self._lock:
                        self._under_way += 1
                    pool.submit(self._in_slot, delivery)
                self._changed.wait(_POLL_S)
        self._tracer.close()

    def stop(self) -> None:
        """Have ``run`` return; safe in a signal handler, which must take no lock."""
        self._stopping = True

    def due(self) -> list[Delivery]:
        """Take as much of what is due as there are free slots."""
        free = self._slots - self._under_way
        try:
            return self._deliveries.claim(free, self._lease_ms, **self._bounds) if free else []
        except JobsError as error:
            _log.warning("deliveries_not_claimed", code=error.code)
            self._changed.wait(1)
            return []

    def attempt(self, delivery: Delivery) -> Verdict:
        """Try once to tell a receiver, note what became of it, and return that.

        Raises StoreUnavailable; the delivery is then due again when its lease has run out.
        """
        job = delivery.job
        told: dict[str, str | int] = {"job": job.id, "tenant": job.tenant, "try": delivery.tries}
        with self._tracer.span("webhook", job.trace, **told) as context:
            outcome, asked = self._sent(delivery, {"traceparent": context} if context else {})
        verdict = _verdict(outcome)
        if verdict is not Verdict.DELIVERED:
            _log.info("webhook_not_delivered", **told, trace=trace_id(context), outcome=outcome)
        self._deliveries.note(delivery, outcome, verdict, max(wait_ms(delivery.tries), asked))
        return verdict

    def _sent(self, delivery: Delivery, trace: Mapping[str, str]) -> tuple[int | str, int]:
        """Return what came of an attempt, and how long its receiver asks to wait, in ms."""
        try:
            answer = self._outbound.send(
                "POST",
                delivery.webhook.url,
                headers={**self._headers(delivery), **trace},
                content=self.body(delivery),
            )
        except Unreached as error:
            return error.code, 0
        if answer.status not in _BUSY:
            return answer.status, 0
        return answer.status, min(asked_ms(answer.retry_after, self._clock()), LONGEST_WAIT_MS)

    def body(self, delivery: Delivery) -> bytes:
        """Return what is told: which job ended and how, and where to read the rest."""
        job = delivery.job
        told = {
            "id": job.id,
            "status": job.status,
            "group": job.group,
            "metadata": job.metadata,
            "link": f"{self._link}/v1/jobs/{job.id}",
        }
        return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()

    def _headers(self, delivery: Delivery) -> dict[str, str]:
        secrets = self._secrets.valid(delivery.job.tenant)
        if not secrets:
            raise Unreached("secret_missing")
        seconds = int(self._clock())
        moment, text = datetime.fromtimestamp(seconds, UTC), self.body(delivery).decode()
        signatures = [Signer(secret).sign(delivery.id, moment, text) for secret in secrets]
        return {
            "Content-Type": "application/json",
            "User-Agent": "llava-jobs",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(seconds),
            "webhook-signature": " ".join(signatures),
        }

    def _in_slot(self, delivery: Delivery) -> None:
        try:
            self.attempt(delivery)
        except JobsError as error:
            _log.warning("delivery_not_noted", job=delivery.job.id, code=error.code)
        except Exception as error:  # noqa: BLE001 - one delivery must not end the sender
            _log.error("delivery_broke", error=type(error).__name__, exc_info=True)
        finally:
            with self._lock:
                self._under_way -= 1
            self._changed.set()


def _verdict(outcome: int | str) -> Verdict:
    if isinstance(outcome, int) and 200 <= outcome < 300:
        return Verdict.DELIVERED
    return Verdict.GONE if outcome == _GONE else Verdict.RETRY


def webhook_rules(settings: Settings) -> Rules:
    """Return where webhooks may go, as the settings want it."""
    return Rules(
        timeout_s=settings.webhook_timeout_s,
        http_hosts=listed(settings.webhook_http_hosts),
        networks=tuple(ip_network(text) for text in listed(settings.webhook_networks)),
    )


def sender(
    client: redis.Redis, settings: Settings, beat: Callable[[], object] = lambda: None
) -> Sender:
    """Return a sender as the settings want it; ``beat`` is as in Sender."""
    return Sender(
        Deliveries(client),
        WebhookSecrets(client),
        Outbound(webhook_rules(settings)),
        slots=settings.webhook_slots,
        to_one_host=settings.webhook_slots_per_host,
        of_one_tenant=settings.webhook_slots_per_tenant,
        link=settings.public_url.rstrip("/"),
        beat=beat,
        tracing=tracer(settings, "deliver"),
    )
