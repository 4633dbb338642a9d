"""A webhook: where the end of a job is told, and of which ends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Told(StrEnum):
    """Whether a receiver has been told how a job ended."""

    PENDING = "pending"
    """To be sent, or to be sent again."""
    DELIVERED = "delivered"
    """A receiver answered 2xx."""
    FAILED = "failed"
    """Given up after days."""
    DISABLED = "disabled"
    """The receiver has answered 410: nothing is sent to this URL until it is enabled again."""


@dataclass(frozen=True)
class Webhook:
    """Where a job's end is told; ``host`` is that of ``url``, in ASCII.

    ``events`` are `completed`, which is any end, `succeeded`, `failed` and `canceled`.
    """

    url: str
    host: str
    events: tuple[str, ...] = ("completed",)

    def to_json(self) -> str:
        """Return the webhook as the ledger keeps it."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Webhook:
        """Read what ``to_json`` wrote."""
        data = json.loads(text)
        return cls(data["url"], data["host"], tuple(data["events"]))


@dataclass(frozen=True)
class Attempt:
    """One try to tell a receiver, ``at`` in milliseconds: the status it answered, or an error."""

    at: int
    status: int | None = None
    error: str | None = None

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Attempt:
        """Read an attempt as the ledger keeps it."""
        return cls(data["at"], data.get("status"), data.get("error"))
