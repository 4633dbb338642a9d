"""Batches: how they begin, what is fed of them, what is written of them, and how they end.

Each script looks whether a batch is where its caller takes it to be and else changes nothing. So a
feeder may die at any moment, or come back when another has its batch: a line becomes one job, and
one line of one file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import redis

from jobs.batch import MOST_OPEN, WINDOW_MS, Batch, BatchStatus
from jobs.errors import Conflict, InvalidRequest, NotFound, TooManyBatches
from jobs.files import PART_BYTES
from jobs.job import Job, new_id
from jobs.newest import Newest
from jobs.records import decoded, record
from jobs.scripts import PREFIX, Scripts
from jobs.store import told_plainly


@dataclass(frozen=True)
class Ended:
    """The job of a line that has ended; ``job`` is None where it was erased."""

    job_id: str
    number: int
    custom_id: str
    job: Job | None


class Written(NamedTuple):
    """A line for a file of a batch; ``job_id`` is empty where it had no job."""

    job_id: str
    file: Literal["output", "errors"]
    text: str


class Read(NamedTuple):
    """How far an input is read: from the line ``after`` to ``line``; the next is at ``offset``."""

    after: int
    line: int
    offset: int


class Batches:
    """The batches of all tenants; every method raises StoreUnavailable."""

    def __init__(self, client: redis.Redis, scripts: Scripts) -> None:
        self._client = client
        self._run = scripts.run

    def begin(
        self,
        tenant: str,
        input_file: str,
        *,
        endpoint: str,
        window: str,
        metadata: Mapping[str, str] | None,
        keep_ms: int,
    ) -> Batch:
        """Begin a batch, once that is durable; what it writes is kept for ``keep_ms`` from its end.

        Raises InvalidRequest where there is no such input, TooManyBatches, LedgerFull.
        """
        ids = new_id("batch"), input_file, new_id("file"), new_id("file")
        told = json.dumps(metadata, ensure_ascii=False)
        verdict, *found = self._run(
            *("begin_batch", tenant, *ids, endpoint, window, WINDOW_MS, told, keep_ms, MOST_OPEN),
            durable=True,
        )
        if verdict == b"file_missing":
            raise InvalidRequest(
                "no file of yours with the purpose batch has this id; upload it first",
                code="file_not_found",
                param="input_file_id",
            )
        if verdict == b"batches_full":
            raise TooManyBatches(
                f"{MOST_OPEN} of your batches are under way; begin another when one has ended",
                retry_after=60,
            )
        return Batch.from_record(record(found[0]))

    def get(self, tenant: str, batch_id: str) -> Batch | None:
        """Return a tenant's batch; None where there is none, or it is another tenant's."""
        with told_plainly():
            fields = decoded(self._client.hgetall(_key(batch_id)))
        return Batch.from_record(fields) if fields.get("tenant") == tenant else None

    def page(
        self, tenant: str, *, limit: int, after: str | None
    ) -> tuple[list[Batch], bool] | None:
        """Return batches of a tenant, newest first, behind ``after``, and whether there are more.

        None where ``after`` leads nowhere.
        """
        found = Newest(self._client, f"{PREFIX}batches:{tenant}", _key).page(limit, after)
        return found and ([Batch.from_record(fields) for fields in found[0]], found[1])

    def cancel(self, tenant: str, batch_id: str) -> Batch:
        """Stop a tenant's batch; what has been answered is kept.

        Raises NotFound, or Conflict where it has ended otherwise.
        """
        done = self._run("stop_batch", batch_id, tenant, BatchStatus.CANCELLED, durable=True)
        batch = self.get(tenant, batch_id) if done else None
        if batch is None:
            raise _no_batch()
        if BatchStatus.CANCELLED in (batch.status, batch.stopping):
            return batch
        raise Conflict(
            f"this batch cannot be cancelled: it is {batch.status}", code="batch_not_cancellable"
        )

    def erase(self, tenant: str, batch_id: str) -> None:
        """Leave nothing of a tenant's batch, nor of what it wrote, once that is durable.

        Raises NotFound, or Conflict where it has not ended.
        """
        done = self._run("erase_batch", batch_id, tenant, durable=True)
        if not done:
            raise _no_batch()
        if done < 0:
            raise Conflict(
                "this batch has not ended; cancel it first, and erase it once it has ended",
                code="batch_open",
            )

    def take(self, lease_ms: int) -> tuple[Batch, int] | None:
        """Give a feeder the batch whose turn it is, and the store's time in ms; None: none is.

        Until ``lease_ms`` are over, or it is passed on, no other feeder is given it.
        """
        found = self._run("take_batch", lease_ms)
        return (Batch.from_record(record(found[1])), int(found[0])) if found else None

    def pass_on(self, batch: Batch, wait_ms: int, gather_ms: int) -> None:
        """Have a batch taken again after ``wait_ms``, unless it has ended.

        Sooner where one of its jobs ends: ``gather_ms`` after that, with what has ended by then.
        """
        self._run("rest_batch", batch.id, wait_ms, gather_ms)

    def validated(self, batch: Batch, total: int) -> None:
        """Have the lines of a batch be run, of which there are so many."""
        self._run("move_batch", batch.id, "valid", total, "")

    def fail(self, batch: Batch, problems: Sequence[Mapping[str, Any]]) -> None:
        """End a batch whose input cannot be run."""
        self._run("move_batch", batch.id, "invalid", 0, json.dumps(problems), durable=True)

    def expire(self, batch: Batch) -> None:
        """Stop a batch whose window is over."""
        self._run("stop_batch", batch.id, batch.tenant, BatchStatus.EXPIRED)

    def settle(self, batch: Batch) -> BatchStatus:
        """Move a batch on to its end, a state at a time, where all its lines are written.

        Returns what its state is then.
        """
        status = self._run("move_batch", batch.id, "settled", 0, "", durable=True)
        return BatchStatus(status.decode()) if status else batch.status

    def ended(self, batch: Batch, most: int) -> tuple[int, list[Ended]]:
        """Return how many jobs of a batch are out, and those of them that have ended."""
        out, *found = self._run("ended_lines", batch.id, most)
        return int(out), [_ended(*entry) for entry in found]

    def write(self, batch: Batch, lines: Sequence[Written], read: Read | None = None) -> int:
        """Write lines into the files of a batch; returns how many of them were not there yet.

        Of a job nothing else stays. Lines without a job are written where the batch's input has
        been ``read`` up to the line before them, and no further.
        """
        flat = [part for line in lines for part in line]
        place = read or ("", "", "")
        return int(self._run("write_lines", batch.id, *place, PART_BYTES, *flat))


def _ended(job_id: bytes, told: bytes, flat: list[bytes]) -> Ended:
    number, _, custom_id = told.decode().partition(" ")
    job = Job.from_record(record(flat)) if flat else None
    return Ended(job_id.decode(), int(number), custom_id, job)


def _no_batch() -> NotFound:
    return NotFound("no batch of yours has this id", code="batch_not_found")


def _key(batch_id: str) -> str:
    return f"{PREFIX}batch:{batch_id}"
