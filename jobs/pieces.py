"""What a job says while it runs: pieces of its answer, kept until it ends, for those who listen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import redis

from jobs.scripts import PREFIX, Scripts
from jobs.store import told_plainly

START = "0-0"
"""The cursor before all pieces."""
KEEP_MS = 600_000
MOST_PIECES = 10_000
"""Of one job; whoever comes too late for the first ones is told the answer once it is complete."""


@dataclass(frozen=True)
class Piece:
    """A text that begins ``offset`` characters into what one attempt at a job says.

    ``fence`` is the attempt's fencing token: a later attempt has a higher one, and begins at 0.
    """

    job: str
    fence: int
    offset: int
    text: str


class Pieces:
    """The pieces of all running jobs; every method raises StoreUnavailable."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._run = Scripts(client).run

    def listen(self, tenant: str, job_id: str) -> None:
        """Have a tenant's job say what it answers while it runs, now or later, until it ends."""
        self._run("listen", job_id, tenant)

    def say(self, pieces: Sequence[Piece]) -> set[str]:
        """Keep pieces; returns the jobs that another has now, or that have ended.

        The same piece may be kept again where the reply was lost. Raises LedgerFull.
        """
        told = [item for p in pieces for item in (p.job, p.fence, p.offset, p.text)]
        return {job.decode() for job in self._run("say", KEEP_MS, MOST_PIECES, *told)}

    def after(self, cursors: Mapping[str, str], wait_ms: int) -> list[tuple[str, Piece]]:
        """Return the pieces behind each job's cursor, each with its own cursor.

        Where there are none yet, waits for the first at most ``wait_ms``.
        """
        keys = {f"{PREFIX}pieces:{job}": cursor for job, cursor in cursors.items()}
        with told_plainly():
            found = self._client.xread(keys, block=wait_ms) or []
        return [
            (cursor.decode(), _piece(name.decode().rpartition(":")[2], fields))
            for name, entries in found
            for cursor, fields in entries
        ]


def _piece(job: str, fields: Mapping[bytes, bytes]) -> Piece:
    return Piece(job, int(fields[b"fence"]), int(fields[b"offset"]), fields[b"text"].decode())
