"""The signals of the store as Prometheus metrics, read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from jobs.errors import JobsError
from jobs.job import Priority, Reason, Status
from jobs.signals import Ended, ModelSignals, Reading, Signals, StoreSignals

_ENDS: tuple[tuple[Status, str], ...] = (
    (Status.SUCCEEDED, ""),
    *((Status.CANCELED, reason) for reason in (Reason.CANCELED, Reason.SUPERSEDED)),
    *(
        (Status.FAILED, reason)
        for reason in (
            *(Reason.DEADLINE, Reason.EXPIRED, Reason.POISON, Reason.REFUSED, Reason.ERROR),
        )
    ),
)
"""How jobs end; told from zero on, because the first of a kind is no increase otherwise."""


class SignalMetrics(Collector):
    """Every API process tells the same of a store: aggregate by `max`, not by `sum`.

    ``promises_disk`` says whether the store is to keep a file; where it is not, its durability is
    no signal.
    """

    def __init__(self, signals: Signals, *, promises_disk: bool) -> None:
        self._signals = signals
        self._promises_disk = promises_disk

    def collect(self) -> Iterator[Metric]:
        """Give every metric, or that the store is away."""
        try:
            reading = self._signals.read()
        except JobsError:
            yield _gauge("store_up", "Whether the store answers", 0)
            return
        yield _gauge("store_up", "Whether the store answers", 1)
        yield from _of_models(reading.models)
        yield from _of_counts(reading)
        yield from _of_the_store(reading.store)
        if self._promises_disk:
            durable = "Whether the store keeps an append-only file and wrote to it last time"
            yield _gauge("store_durable", durable, int(reading.store.durable))


def _of_models(models: Mapping[str, ModelSignals]) -> Iterator[Metric]:
    queued = GaugeMetricFamily(
        "llava_jobs_queued_jobs", "Jobs that a worker can claim", labels=["model", "priority"]
    )
    running = _by_model("running_jobs", "Jobs in the hands of live workers")
    oldest = _by_model("oldest_queued_age_seconds", "Age of the oldest job that can be claimed")
    claim = _by_model("last_claim_age_seconds", "Time since a worker last claimed a job")
    ready = _by_model("ready_workers", "Workers that have loaded the model and are given jobs")
    drained = _by_model("drained_workers", "Workers that are given no jobs until they are resumed")
    slots = _by_model("worker_slots", "Jobs that ready workers answer at the same time")
    for name, model in models.items():
        for priority in (*Priority, "suspect"):
            queued.add_metric([name, str(priority)], model.queued.get(priority, 0))
        running.add_metric([name], model.running)
        oldest.add_metric([name], model.oldest_queued_age_s or 0)
        if model.last_claim_age_s is not None:
            claim.add_metric([name], model.last_claim_age_s)
        ready.add_metric([name], len(model.ready))
        drained.add_metric([name], len(model.workers) - len(model.ready))
        slots.add_metric([name], model.slots)
    yield from (queued, running, oldest, claim, ready, drained, slots)


def _of_counts(reading: Reading) -> Iterator[Metric]:
    ended = CounterMetricFamily(
        "llava_jobs_ended_jobs", "Jobs that have ended", labels=["model", "status", "reason"]
    )
    none = {Ended(model, *end): 0 for model in reading.models for end in _ENDS}
    for end, count in {**none, **reading.ended}.items():
        ended.add_metric([end.model, end.status, end.reason or "none"], count)
    yield ended
    expired = "Leases that ran out: each is a job whose worker fell silent"
    yield CounterMetricFamily("llava_jobs_expired_leases", expired, reading.expired_leases)
    hints = "Hints that were missing in the broker and published again"
    yield CounterMetricFamily("llava_jobs_republished_hints", hints, reading.republished_hints)
    unswept = "Records that the sweeper could not handle, counted each minute anew"
    yield CounterMetricFamily("llava_jobs_unswept_records", unswept, reading.unswept)
    mended = "Counts of waiting jobs that a claim found wrong and mended: there should be none"
    yield CounterMetricFamily("llava_jobs_mended_counts", mended, reading.mended_counts)
    shared = CounterMetricFamily(
        "llava_jobs_deduplicated_jobs", "Jobs answered by another one's work", labels=["how"]
    )
    shared.add_metric(["coalesced"], reading.coalesced)
    shared.add_metric(["answered_from_cache"], reading.answered_from_cache)
    yield shared
    attempts = CounterMetricFamily(
        "llava_jobs_webhook_attempts", "Attempts to tell a receiver", labels=["outcome"]
    )
    for outcome in ("delivered", "retried", "failed", "disabled"):
        attempts.add_metric([outcome], reading.webhooks.get(outcome, 0))
    yield attempts
    overdue = "How long the webhook that is longest due has waited for a sender"
    yield _gauge("webhook_overdue_seconds", overdue, reading.webhook_overdue_s)


def _of_the_store(store: StoreSignals) -> Iterator[Metric]:
    yield _gauge("store_memory_bytes", "Memory that the store uses", store.memory_bytes)
    limit = "Memory that the store may use; 0 where it has no limit"
    yield _gauge("store_memory_limit_bytes", limit, store.memory_limit_bytes)


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"llava_jobs_{name}", meaning, value)


def _by_model(name: str, meaning: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"llava_jobs_{name}", meaning, labels=["model"])
