"""Signals: what operators and their alerts look at, read from the store at one moment.

A reading costs the same with a million jobs queued as with none, and names no tenant.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from jobs.scripts import Scripts
from jobs.store import told_plainly

KEPT_S = 1.0
"""How long a reading is taken to be the same, however many ask for it."""
MOST_TENANTS = 1_000
"""Tenants whose oldest job is looked at in each class."""


@dataclass(frozen=True)
class WorkerSignals:
    """A live worker: of its ``slots``, ``slots_used`` have a job; ages in seconds.

    One that ``drains`` is given no jobs. What a worker of an older version does not tell is None:
    bytes on its GPU that are used and that there are, the share of prompt tokens that its cache
    had, and tokens generated since its start.
    """

    name: str
    host: str
    slots: int
    slots_used: int
    heartbeat_age_s: float
    drains: bool
    gpu_memory_bytes: int | None
    gpu_memory_limit_bytes: int | None
    prefix_hit_rate: float | None
    generated_tokens: int | None


@dataclass(frozen=True)
class ModelSignals:
    """A model: jobs that can be claimed, by class (``suspect`` is one of them), and who claims.

    The oldest such job's age is None where none is queued; the last claim's, where none is known.
    """

    queued: Mapping[str, int]
    oldest_queued_age_s: float | None
    last_claim_age_s: float | None
    workers: tuple[WorkerSignals, ...]

    @property
    def running(self) -> int:
        """Jobs in the hands of live workers."""
        return sum(worker.slots_used for worker in self.workers)

    @property
    def ready(self) -> Sequence[WorkerSignals]:
        """Workers that are given jobs."""
        return [worker for worker in self.workers if not worker.drains]

    @property
    def slots(self) -> int:
        """Jobs that these answer at the same time."""
        return sum(worker.slots for worker in self.ready)


@dataclass(frozen=True)
class StoreSignals:
    """The store's server: bytes used and bytes it may use (0: no limit), and its file.

    ``durable`` says whether it keeps an append-only file and could write to it last time.
    """

    name: str
    version: str
    memory_bytes: int
    memory_limit_bytes: int
    durable: bool


@dataclass(frozen=True)
class Ended:
    """How jobs of a model ended; ``reason`` is empty where the status says all."""

    model: str
    status: str
    reason: str


@dataclass(frozen=True)
class Reading:
    """All signals at one moment; the counts of what happened only ever grow.

    ``unswept`` counts how often the sweeper met a record that it could not read.
    ``running`` counts jobs under a lease, those of workers that have died since included.
    ``webhooks`` counts attempts by outcome: ``delivered``, ``retried``, ``failed``, ``disabled``.
    ``webhook_overdue_s`` is how long the webhook that is longest due has waited for a sender.
    """

    models: Mapping[str, ModelSignals]
    running: int
    ended: Mapping[Ended, int]
    expired_leases: int
    republished_hints: int
    unswept: int
    mended_counts: int
    coalesced: int
    answered_from_cache: int
    webhooks: Mapping[str, int]
    webhook_overdue_s: float
    store: StoreSignals


class Signals:
    """Reads the signals of an installation; safe to share among threads.

    ``lease_ms`` is that of the workers; ``clock`` is as in jobs.scripts; a reading is kept for
    ``kept_s`` seconds.
    """

    def __init__(
        self,
        client: redis.Redis,
        lease_ms: int,
        *,
        clock: Callable[[], int] | None = None,
        kept_s: float = KEPT_S,
    ) -> None:
        self._client = client
        self._lease_ms = lease_ms
        self._run = Scripts(client, clock=clock).run
        self._kept_s = kept_s
        self._lock = threading.Lock()
        self._kept: tuple[float, Reading] | None = None

    def read(self) -> Reading:
        """Return the signals as they are, or were a moment ago; raises StoreUnavailable."""
        with self._lock:
            if self._kept is None or time.monotonic() - self._kept[0] >= self._kept_s:
                self._kept = None
                reading = self._read()
                self._kept = (time.monotonic(), reading)
            return self._kept[1]

    def _read(self) -> Reading:
        told = json.loads(self._run("signals", self._lease_ms, MOST_TENANTS))
        counters: dict[str, int] = dict(told["counters"])
        return Reading(
            models={name: _model(found) for name, found in sorted(told["models"].items())},
            running=told["running"],
            ended={_ended(name): count for name, count in sorted(told["ended"].items())},
            expired_leases=counters.get("expired_leases", 0),
            republished_hints=counters.get("republished_hints", 0),
            unswept=counters.get("unswept", 0),
            mended_counts=counters.get("mended_counts", 0),
            coalesced=counters.get("coalesced", 0),
            answered_from_cache=counters.get("answered_from_cache", 0),
            webhooks={
                name.removeprefix("webhooks_"): count
                for name, count in sorted(counters.items())
                if name.startswith("webhooks_")
            },
            webhook_overdue_s=told["overdue"] / 1000,
            store=self._store(),
        )

    def _store(self) -> StoreSignals:
        with told_plainly():
            server, memory, file = map(self._client.info, ("server", "memory", "persistence"))
        is_valkey = "valkey_version" in server
        return StoreSignals(
            name="Valkey" if is_valkey else "Redis",
            version=str(server["valkey_version" if is_valkey else "redis_version"]),
            memory_bytes=int(memory["used_memory"]),
            memory_limit_bytes=int(memory["maxmemory"]),
            durable=bool(file["aof_enabled"]) and file.get("aof_last_write_status") == "ok",
        )


def _model(told: Mapping[str, Any]) -> ModelSignals:
    return ModelSignals(
        queued={name: int(count) for name, count in sorted(told["queued"].items())},
        oldest_queued_age_s=_seconds(told.get("oldest")),
        last_claim_age_s=_seconds(told.get("claimed")),
        # Lua has one kind of table: an empty list comes as an empty object.
        workers=tuple(_worker(found) for found in told["workers"] or ()),
    )


def _worker(told: Mapping[str, Any]) -> WorkerSignals:
    facts = json.loads(told["facts"])
    return WorkerSignals(
        name=told["name"],
        host=str(facts.get("host", "")),
        slots=int(facts.get("slots", 0)),
        slots_used=told["jobs"],
        heartbeat_age_s=told["silent"] / 1000,
        drains=told["drains"],
        gpu_memory_bytes=facts.get("gpu_memory_bytes"),
        gpu_memory_limit_bytes=facts.get("gpu_memory_limit_bytes"),
        prefix_hit_rate=facts.get("prefix_hit_rate"),
        generated_tokens=facts.get("generated_tokens"),
    )


def _ended(name: str) -> Ended:
    status, reason, model = name.split(":", 2)
    return Ended(model, status, reason)


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
