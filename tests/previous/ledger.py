"""The ledger as version 1 of the record had it, kept to hold rolling restarts to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import redis

from jobs.errors import (
    IdempotencyMismatch,
    ImageExpired,
    LedgerFull,
    StoreUnavailable,
    TenantQueueFull,
)
from jobs.settings import Settings
from jobs.store import told_plainly
from tests.previous.job import RECORD_VERSION, Claim, Draft, Job, Outcome, Reason, Status

PREFIX = "lj:"
CHANGES = f"{PREFIX}changes"
"""Channel on which every change of a job is told as ``<job id> <status or 'cancel'>``."""


@dataclass(frozen=True)
class Limits:
    """What the ledger admits and how long it keeps it; times in milliseconds."""

    queue_lifetime: int = 86_400_000
    retention: int = 86_400_000
    tenant_queue: int = 100_000
    queue: int = 2_000_000
    lease: int = 30_000
    crashes: int = 3
    attempts: int = 5
    durability_timeout: int = 2_000

    @classmethod
    def from_settings(cls, settings: Settings) -> Limits:
        """Read the limits that are set."""
        return cls(
            queue_lifetime=settings.queue_lifetime_s * 1000,
            retention=settings.retention_s * 1000,
            tenant_queue=settings.tenant_queue_limit,
            queue=settings.queue_limit,
            lease=settings.lease_ms,
            crashes=settings.max_crashes,
            attempts=settings.max_attempts,
            durability_timeout=settings.durability_timeout_ms,
        )


@dataclass(frozen=True)
class Renewal:
    """What a worker learns when it renews: jobs that are no longer its own, jobs to stop."""

    lost: frozenset[str]
    unwanted: frozenset[str]


@dataclass(frozen=True)
class Sweep:
    """What one sweep repaired, in jobs."""

    leases_expired: int
    ended: int
    promoted: int
    forgotten: int


class Ledger:
    """The jobs of all tenants in one Redis or Valkey.

    ``durability`` is how acceptance is made durable (see jobs.store.Server). ``clock`` returns
    milliseconds since the epoch; without one the store's own clock counts, so that no two machines
    disagree. Every method raises StoreUnavailable where the store cannot be used.
    """

    def __init__(
        self,
        client: redis.Redis,
        limits: Limits | None = None,
        *,
        durability: Literal["waitaof", "always", "memory"] = "waitaof",
        clock: Callable[[], int] | None = None,
    ) -> None:
        self._client = client
        self._limits = limits or Limits()
        self._durability = durability
        self._clock = clock or (lambda: 0)

    def submit(self, draft: Draft) -> tuple[Job, bool]:
        """Accept a job and return it once it is durable; True where an idempotency key replayed it.

        Where a job of the tenant that asks the same is open, the new one follows it; where one has
        a repeatable answer, the new one has ended with it. Both say so in ``deduplicated_from``.

        Raises TenantQueueFull, LedgerFull, IdempotencyMismatch, ImageExpired, or StoreUnavailable
        where the sync to disk was not confirmed in time (the job may run all the same; a retry
        under the same idempotency key finds it).
        """
        limits = self._limits
        due = min(draft.deadline_ms or limits.queue_lifetime, limits.queue_lifetime)
        reply = self._run(
            "submit",
            draft.id,
            draft.tenant,
            draft.model,
            draft.priority,
            draft.group or "",
            draft.request_json(),
            due,
            int(draft.deadline_ms is not None),
            limits.retention,
            RECORD_VERSION,
            draft.idempotency_key or "",
            draft.fingerprint,
            limits.tenant_queue,
            limits.queue,
            draft.work if draft.cache else "",
            int(draft.parameters.are_repeatable),
            *dict.fromkeys(image.digest for image in draft.conversation.images),
            durable=True,
        )
        verdict = reply[0].decode()
        if verdict == "mismatch":
            raise IdempotencyMismatch(
                "this Idempotency-Key came with another request before; use a new key",
                param="Idempotency-Key",
            )
        if verdict == "tenant_full":
            raise TenantQueueFull(
                f"{limits.tenant_queue} of your jobs are waiting; submit again when some are done",
                retry_after=10,
            )
        if verdict == "full":
            raise LedgerFull("too many jobs are waiting; submit again later", retry_after=30)
        if verdict == "image_missing":
            raise ImageExpired("a picture of this job is not kept; send it again", param="images")
        return Job.from_record(_record(reply[1])), verdict == "replayed"

    def get(self, tenant: str, job_id: str) -> Job | None:
        """Return a tenant's job; None where there is none, or it is another tenant's."""
        with told_plainly():
            record = self._client.hgetall(f"{PREFIX}job:{job_id}")
        job = Job.from_record(_decoded(record)) if record else None
        return job if job and job.tenant == tenant else None

    def claim(self, model: str, worker: str) -> Claim | None:
        """Give the next job of a model to a worker under a lease; None where none is to be had."""
        flat = self._run("claim", model, worker, self._limits.lease)
        if not flat:
            return None
        record = _record(flat)
        return Claim(Job.from_record(record), int(record["fence"]))

    def finish(self, claim: Claim, outcome: Outcome) -> bool:
        """End a job; False where the claim has been lost, and nothing changed."""
        fields: list[str] = []
        for name in ("reason", "answer", "error", "usage", "timing", "receipt"):
            value = getattr(outcome, name)
            if value is not None:
                text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                fields += [name, text]
        return bool(self._run("finish", claim.job.id, claim.fence, outcome.status, *fields))

    def hand_back(self, claim: Claim) -> bool:
        """Put a job back in its place, no try charged; False where the claim has been lost."""
        return bool(self._run("release", claim.job.id, claim.fence, "handed_back", 0, 0))

    def retry(self, claim: Claim, wait_ms: int, error: Mapping[str, Any]) -> bool:
        """Try a job again after ``wait_ms``, or fail it with ``error`` where its tries are used up.

        False where the claim has been lost.
        """
        tries = sum(attempt.outcome in (None, "retried") for attempt in claim.job.attempts)
        if tries >= self._limits.attempts:
            return self.finish(claim, Outcome(Status.FAILED, Reason.ERROR, error=error))
        return bool(self._run("release", claim.job.id, claim.fence, "retried", 1, wait_ms))

    def renew(
        self, worker: str, model: str, facts: Mapping[str, Any], claims: Mapping[str, int]
    ) -> Renewal:
        """Say that a worker is alive and keep its jobs; ``claims`` maps job id to fencing token."""
        pairs = [item for pair in claims.items() for item in pair]
        lost, unwanted = self._run(
            "renew", worker, model, self._limits.lease, json.dumps(dict(facts)), *pairs
        )
        return Renewal(frozenset(i.decode() for i in lost), frozenset(i.decode() for i in unwanted))

    def leave(self, worker: str, model: str) -> None:
        """Take a worker that stops off the list of live ones."""
        with told_plainly():
            self._client.delete(f"{PREFIX}worker:{worker}")
            self._client.zrem(f"{PREFIX}workers:{model}", worker)

    def cancel(self, tenant: str, job_id: str) -> Job | None:
        """Stop a tenant's job, at once or through its worker; None where there is none."""
        self._run("cancel", job_id, tenant, durable=True)
        return self.get(tenant, job_id)

    def sweep(self, at_most: int = 200) -> Sweep:
        """Repair what time has done, to at most ``at_most`` jobs of each kind; safe anywhere."""
        return Sweep(*self._run("sweep", self._limits.crashes, at_most))

    def lead(self, name: str, for_ms: int) -> bool:
        """Whether ``name`` may sweep for ``for_ms``: it leads already, or nobody does."""
        with told_plainly():
            key = f"{PREFIX}sweeper"
            if self._client.set(key, name, px=for_ms, nx=True):
                return True
            if self._client.get(key) != name.encode():
                return False
            return bool(self._client.pexpire(key, for_ms))

    def position(self, job: Job) -> int:
        """Return about how many jobs will have been claimed when this one is, itself included.

        From its rank in its tenant's queue and the number of tenants that take turns, never more
        than all that wait in its class: a bound within one class, in O(log n). A job that follows
        another has that one's position.
        """
        if job.deduplicated_from:
            job = self.get(job.tenant, job.deduplicated_from) or job
        with told_plainly(), self._client.pipeline(transaction=False) as pipe:
            pipe.zrank(f"{PREFIX}queue:{job.model}:{job.priority}:{job.tenant}", job.id)
            pipe.zcard(f"{PREFIX}turns:{job.model}:{job.priority}")
            pipe.hget(f"{PREFIX}queued:{job.model}", job.priority)
            rank, tenants, queued = pipe.execute()
        if rank is None:
            return 1  # a suspect or a delayed retry, which comes before the queue, or it runs
        return min(int(rank) * max(int(tenants), 1) + int(tenants), int(queued or 0)) or 1

    def queued(self, model: str) -> dict[str, int]:
        """Return how many jobs of a model can be claimed, by class; ``suspect`` is one of them."""
        with told_plainly():
            counts = self._client.hgetall(f"{PREFIX}queued:{model}")
        return {name: int(count) for name, count in _decoded(counts).items()}

    def counters(self) -> dict[str, int]:
        """Return how many jobs were ever `coalesced`, and how many `answered_from_cache`."""
        with told_plainly():
            counts = self._client.hgetall(f"{PREFIX}counters")
        return {name: int(count) for name, count in _decoded(counts).items()}

    def models(self) -> set[str]:
        """Return every model that has ever had a job or a worker."""
        with told_plainly():
            return {name.decode() for name in self._client.smembers(f"{PREFIX}models")}

    def workers(self, model: str) -> dict[str, dict[str, Any]]:
        """Return the live workers of a model and the facts each told when it last renewed."""
        with told_plainly():
            names = self._client.zrange(f"{PREFIX}workers:{model}", 0, -1)
            facts = (
                self._client.mget([f"{PREFIX}worker:{n.decode()}" for n in names]) if names else []
            )
        return {n.decode(): json.loads(f) for n, f in zip(names, facts, strict=True) if f}

    def _run(self, script: str, *arguments: str | int, durable: bool = False) -> Any:
        """Run a script; where ``durable``, return once what it wrote is synced to disk."""
        text, digest = _script(script)
        sent = (1, PREFIX, self._clock(), *arguments)
        wait = durable and self._durability == "waitaof"
        with told_plainly():
            try:
                reply, synced = self._send(digest, sent, wait)
            except redis.exceptions.NoScriptError:
                self._client.script_load(text)
                reply, synced = self._send(digest, sent, wait)
        if wait and synced < 1:
            raise StoreUnavailable("the store did not confirm its sync to disk", retry_after=5)
        return reply

    def _send(self, digest: str, sent: tuple[str | int, ...], wait: bool) -> tuple[Any, int]:
        if not wait:
            return self._client.evalsha(digest, *sent), 0
        # WAITAOF speaks of the writes of its own connection, hence one pipeline.
        with self._client.pipeline(transaction=False) as pipe:
            pipe.evalsha(digest, *sent)
            pipe.execute_command("WAITAOF", 1, 0, self._limits.durability_timeout)
            reply, synced = pipe.execute()
        return reply, int(synced[0])


@cache
def _script(name: str) -> tuple[str, str]:
    import hashlib

    folder = files("tests.previous") / "lua"
    text = (folder / "shared.lua").read_text() + (folder / f"{name}.lua").read_text()
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _record(flat: list[bytes]) -> dict[str, str]:
    return _decoded(dict(zip(flat[::2], flat[1::2], strict=True)))


def _decoded(record: Mapping[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in record.items()}
