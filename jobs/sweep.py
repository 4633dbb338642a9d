"""What one sweep of the ledger did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sweep:
    """What one sweep repaired, in jobs; ``broken`` are ids of jobs that it could not handle.

    ``leads`` is False where another process sweeps, and nothing was done.
    """

    leases_expired: int = 0
    ended: int = 0
    promoted: int = 0
    forgotten: int = 0
    has_more: bool = False
    memory_is_full: bool = False
    broken: tuple[str, ...] = ()
    leads: bool = True

    @classmethod
    def from_reply(cls, reply: Sequence[Any]) -> Sweep:
        """Read what sweep.lua replied."""
        if not reply:
            return cls(leads=False)
        expired, ended, promoted, forgotten, has_more, is_full, broken = reply
        return cls(
            *(expired, ended, promoted, forgotten),
            has_more=bool(has_more),
            memory_is_full=bool(is_full),
            broken=tuple(job_id.decode() for job_id in broken),
        )
