"""What those who run an installation do with it, and see of it beside its signals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import redis

from jobs.drain import Drains
from jobs.failures import Failures
from jobs.figures import Figures
from jobs.intake import Intake
from jobs.ledger import Ledger
from jobs.receiver_health import ReceiverHealth
from jobs.retrying import Retrying
from jobs.settings import Settings


@dataclass(frozen=True)
class Operations:
    """The controls of an installation, and the figures that go with them."""

    intake: Intake
    drains: Drains
    failures: Failures
    retrying: Retrying
    figures: Figures
    receivers: ReceiverHealth

    @classmethod
    def of(cls, client: redis.Redis, ledger: Ledger, settings: Settings) -> Self:
        """Return those of a store; ``ledger`` is one on it that is as durable as is wanted."""
        return cls(
            intake=Intake(client, ledger.scripts),
            drains=Drains(client, ledger.scripts),
            failures=Failures(client),
            retrying=Retrying(client, ledger, settings.model_revision),
            figures=Figures(client),
            receivers=ReceiverHealth(client),
        )
