"""The intake of jobs: paused and resumed, of one tenant or of all; what was accepted goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import redis

from jobs.records import decoded
from jobs.scripts import PREFIX, Scripts
from jobs.store import told_plainly
from jobs.tenants import named

_EVERYBODY = "*"


@dataclass(frozen=True)
class Pauses:
    """Since when the intake is paused, in milliseconds: everybody's (None: it is not), tenants'."""

    everybody: int | None
    tenants: Mapping[str, int]


class Intake:
    """Whether jobs are accepted; submit.lua looks at it, so that none slips in after a pause.

    Every method raises StoreUnavailable.
    """

    def __init__(self, client: redis.Redis, scripts: Scripts) -> None:
        self._client = client
        self._run = scripts.run

    def pause(self, tenant: str | None = None) -> None:
        """Accept no job of a tenant, or of anybody; raises ConfigurationError for a bad name."""
        self._tell(tenant, "pause")

    def resume(self, tenant: str | None = None) -> None:
        """Undo such a pause. A tenant's own outlives that of all, and the other way round."""
        self._tell(tenant, "resume")

    def pauses(self) -> Pauses:
        """Return what is paused."""
        with told_plainly():
            found = decoded(self._client.hgetall(f"{PREFIX}paused"))
        since = {name: int(at) for name, at in sorted(found.items())}
        return Pauses(since.pop(_EVERYBODY, None), since)

    def _tell(self, tenant: str | None, word: str) -> None:
        who = _EVERYBODY if tenant is None else named(tenant)
        self._run("intake", who, word, durable=True)
