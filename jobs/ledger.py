"""The ledger: every job's record and every change of its state, each one atomic Lua script."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import redis

from jobs.drain import Drain
from jobs.hints import AT_MOST, Hints, queue_of
from jobs.job import RECORD_VERSION, WAIT, Claim, Draft, Job, Outcome, Reason, Status
from jobs.position import bound, ranked
from jobs.records import decoded, record
from jobs.refusals import refusal
from jobs.scripts import PREFIX, Durability, Scripts
from jobs.settings import Settings
from jobs.store import told_plainly
from jobs.sweep import Sweep


@dataclass(frozen=True)
class Limits:
    """What the ledger admits and how long it keeps it; times in milliseconds, sizes in bytes."""

    queue_lifetime: int = 86_400_000
    retention: int = 86_400_000
    tenant_queue: int = 100_000
    tenant_images: int = 2 << 30
    queue: int = 2_000_000
    lease: int = 30_000
    crashes: int = 3
    attempts: int = 5
    durability_timeout: int = 2_000
    durable_replicas: int = 0
    memory_percent: int = 85
    """Share of the store's maxmemory above which nothing is accepted."""

    @classmethod
    def from_settings(cls, settings: Settings) -> Limits:
        """Read the limits that are set."""
        return cls(
            queue_lifetime=settings.queue_lifetime_s * 1000,
            retention=settings.retention_s * 1000,
            tenant_queue=settings.tenant_queue_limit,
            tenant_images=settings.tenant_image_bytes,
            queue=settings.queue_limit,
            lease=settings.lease_ms,
            crashes=settings.max_crashes,
            attempts=settings.max_attempts,
            durability_timeout=settings.durability_timeout_ms,
            durable_replicas=settings.durable_replicas,
            memory_percent=settings.memory_limit_percent,
        )


@dataclass(frozen=True)
class Renewal:
    """What a worker learns when it renews: jobs that are no longer its own, jobs to stop.

    ``drain`` says what it does with the rest, if it is to claim nothing.
    """

    lost: frozenset[str]
    unwanted: frozenset[str]
    drain: Drain | None = None


class Ledger:
    """The jobs of all tenants in one Redis or Valkey.

    ``durability`` and ``clock`` are as in jobs.scripts; ``scripts`` runs others as durably. With
    ``hints``, each job that is queued comes with one; without, the sweeper's calls a worker. Every
    method raises StoreUnavailable where the store cannot be used.
    """

    def __init__(
        self,
        client: redis.Redis,
        limits: Limits | None = None,
        *,
        durability: Durability = "waitaof",
        clock: Callable[[], int] | None = None,
        hints: Hints | None = None,
    ) -> None:
        self._client = client
        self._hints = hints
        self._limits = limits or Limits()
        self.scripts = Scripts(
            client,
            durability=durability,
            durability_timeout=self._limits.durability_timeout,
            replicas=self._limits.durable_replicas,
            clock=clock,
        )
        self._run = self.scripts.run

    def submit(self, draft: Draft, soonest_ms: int = 0) -> tuple[Job, bool]:
        """Accept a job and return it once it is durable; True where an idempotency key replayed it.

        Where a job of the tenant that asks the same is open, the new one follows it; where one has
        a repeatable answer, the new one has ended with it. Both say so in ``deduplicated_from``.
        ``soonest_ms`` is when it would end otherwise, as far as that can be told: a job whose
        deadline is before that is not accepted.

        Raises IntakePaused, TenantQueueFull, TenantImagesFull, LedgerFull, IdempotencyMismatch,
        ImageExpired, DeadlineUnmeetable, BatchElsewhere, or StoreUnavailable where the sync to
        disk was not confirmed in time (the job may run all the same; a retry under the same
        idempotency key finds it).
        """
        limits = self._limits
        due = min(draft.deadline_ms or limits.queue_lifetime, limits.queue_lifetime)
        shown = dict.fromkeys(image.digest for image in draft.conversation.images)
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
            int(draft.supersede),
            draft.webhook.to_json() if draft.webhook else "",
            soonest_ms,
            draft.trace or "",
            draft.batch.to_json() if draft.batch else "",
            draft.key,
            queue_of(draft.model),
            AT_MOST,
            self._hints.new(draft.model) if self._hints else "",
            limits.tenant_images,
            *(part for d in shown for part in (d, draft.pictures.get(d, b""))),
            durable=draft.batch is None,  # else what is lost is fed again, from the same place
        )
        refused = refusal(reply)
        if refused:
            raise refused
        word, flat, *place = reply
        position = bound(*map(int, place)) if place else None
        fields = record(flat)
        # What one script was not to withdraw by itself; a repeated call goes on there.
        while fields.get("superseding") and self._run("supersede", fields["id"], durable=True):
            pass
        return replace(Job.from_record(fields), position=position), word == b"replayed"

    def get(self, tenant: str, job_id: str) -> Job | None:
        """Return a tenant's job; None where there is none, or it is another tenant's."""
        with told_plainly():
            found = self._client.hgetall(f"{PREFIX}job:{job_id}")
        job = Job.from_record(decoded(found)) if found else None
        return job if job and job.tenant == tenant else None

    def ask(self, model: str, worker: str) -> Claim | Literal["wait"] | None:
        """Give the next job of a model to a worker under a lease; None where none is to be had.

        WAIT where a job that was part of a crash runs on that worker, or is to: it runs beside no
        other, so the worker asks again once all that it holds has ended.
        """
        own = f"{secrets.randbelow(10**9):09d}"
        reply = self._run("claim", model, worker, self._limits.lease, own)
        if reply == [WAIT.encode()]:
            return WAIT
        return Claim.from_record(record(reply)) if reply else None

    def claim(self, model: str, worker: str) -> Claim | None:
        """Give the next job as `ask` does, to whoever does not wait."""
        reply = self.ask(model, worker)
        return reply if isinstance(reply, Claim) else None

    def finish(self, claim: Claim, outcome: Outcome) -> bool:
        """End a job; False where the claim has been lost, and nothing changed."""
        fields: list[str] = []
        for name in ("reason", "answer", "error", "usage", "timing", "receipt"):
            value = getattr(outcome, name)
            if value is not None:
                text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                fields += [name, text]
        # Where a failover may come, what a client has read of must outlive it.
        durable = self._limits.durable_replicas > 0
        held = self._run(
            "finish", claim.job.id, claim.fence, outcome.status, *fields, durable=durable
        )
        return bool(held)

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

    def crash(self, claim: Claim, outcome: str) -> bool:
        """Count a job as part of a crash at once, rather than when its lease runs out.

        ``outcome`` is what its attempt says. False where the claim has been lost.
        """
        return bool(self._run("crash", claim.job.id, claim.fence, outcome, self._limits.crashes))

    def renew(
        self, worker: str, model: str, facts: Mapping[str, Any], claims: Mapping[str, int]
    ) -> Renewal:
        """Say that a worker is alive and keep its jobs; ``claims`` maps job id to fencing token.

        A job that the worker was given half a lease ago and does not name goes back to the queue:
        the reply to its claim was lost on the way.
        """
        pairs = [item for pair in claims.items() for item in pair]
        lease, told = self._limits.lease, json.dumps(dict(facts))
        *ids, drain = self._run("renew", worker, model, lease, told, lease // 2, *pairs)
        lost, unwanted = (frozenset(i.decode() for i in some) for some in ids)
        return Renewal(lost, unwanted, Drain(drain.decode()) if drain else None)

    def leave(self, worker: str, model: str) -> None:
        """Take a worker that stops off the list of live ones."""
        self._run("leave", worker, model)

    def cancel(self, tenant: str, job_id: str) -> Job | None:
        """Stop a tenant's job, at once or through its worker; None where there is none."""
        self._run("cancel", tenant, job_id, durable=True)
        return self.get(tenant, job_id)

    def abandon(self, tenant: str, job_id: str) -> None:
        """Stop a tenant's job whose only caller is gone, unless somebody shares or may repeat it.

        A job that others follow goes on, and stops with the last of them that is gone, too; one
        with an idempotency key is there for its caller to come back to.
        """
        self._run("abandon", job_id, tenant)

    def erase(self, tenant: str, job_id: str) -> bool:
        """Leave nothing of a tenant's job, once that is durable; False where there is none.

        Gone are its record, its events, its way to be found, and pictures that no other job shows.
        A worker that has it is told to stop, and what it brings is refused.
        """
        return bool(self._run("erase", tenant, job_id, durable=True))

    def sweep(
        self, at_most: int = 200, spare_after_ms: int = 0, *, sweeper: str = "", lead_ms: int = 0
    ) -> Sweep:
        """Repair what time has done, to at most ``at_most`` jobs; safe anywhere.

        With a ``sweeper``, only where no other one leads, and this one then does for ``lead_ms``.
        After ``spare_after_ms`` (0: never) without a sweep, leases are first prolonged instead: the
        store was away, and no worker could renew. While memory is fuller than it may be, nothing is
        accepted.
        """
        limits = self._limits
        told = (limits.crashes, limits.lease, spare_after_ms, limits.memory_percent)
        return Sweep.from_reply(self._run("sweep", sweeper, lead_ms, at_most, *told))

    def position(self, job: Job) -> int:
        """Return about how many jobs will have been claimed when this one is, itself included.

        From its rank in its tenant's queue and the number of tenants that take turns, never more
        than all that wait in its class: a bound within one class, in O(log n). A job that follows
        another has that one's position.
        """
        if job.position is not None:
            return job.position
        if job.deduplicated_from:
            job = self.get(job.tenant, job.deduplicated_from) or job
        rank, tenants, queued = ranked(
            self._client, job, lambda pipe, queue: pipe.zrank(queue, job.id)
        )
        # A suspect or a delayed retry comes before the queue; else it runs.
        return 1 if rank is None else bound(rank, tenants, queued)

    def next_position(self, draft: Draft) -> int:
        """Return the position that a job would have if it were queued now."""
        rank, others, queued = ranked(self._client, draft, lambda pipe, queue: pipe.zcard(queue))
        return bound(rank or 0, others + (not rank), queued + 1)

    def queued(self, model: str) -> dict[str, int]:
        """Return how many jobs of a model can be claimed, by class; ``suspect`` is one of them."""
        return self._counts(f"queued:{model}")

    def counters(self) -> dict[str, int]:
        """Return how many jobs were ever `coalesced`, and how many `answered_from_cache`."""
        return self._counts("counters")

    def _counts(self, name: str) -> dict[str, int]:
        with told_plainly():
            counts = self._client.hgetall(f"{PREFIX}{name}")
        return {field: int(count) for field, count in decoded(counts).items()}

    def models(self) -> set[str]:
        """Return every model that has ever had a job or a worker."""
        with told_plainly():
            return {name.decode() for name in self._client.smembers(f"{PREFIX}models")}

    def workers(self, model: str) -> dict[str, dict[str, Any]]:
        """Return the live workers of a model and the facts each told when it last renewed."""
        with told_plainly():
            names = self._client.zrange(f"{PREFIX}workers:{model}", 0, -1)
            keys = [f"{PREFIX}worker:{name.decode()}" for name in names]
            facts = self._client.mget(keys) if keys else []
        return {n.decode(): json.loads(f) for n, f in zip(names, facts, strict=True) if f}
