"""How it goes with the receivers of webhooks, at a bounded cost."""

from typing import Any

import pytest

from jobs.deliveries import Deliveries, Verdict
from jobs.ledger import Ledger
from jobs.receiver_health import Receiver, ReceiverHealth
from tests.ledgers import ANSWER, Clock, claimed, submitted, webhook


@pytest.fixture
def health(client: Any, clock: Clock) -> ReceiverHealth:
    """The health of receivers by the test's clock."""
    return ReceiverHealth(client, clock)


@pytest.fixture
def deliveries(client: Any, clock: Clock) -> Deliveries:
    """What is to be told."""
    return Deliveries(client, clock)


def to_tell(ledger: Ledger, host: str = "hook.test", tenant: str = "acme") -> None:
    """Have a job end that is to be told to a host."""
    submitted(ledger, tenant, webhook=webhook(f"https://{host}/{tenant}"))
    ledger.finish(claimed(ledger), ANSWER)


def test_where_nothing_is_to_be_told_all_is_well(health: ReceiverHealth) -> None:
    look = health.look()
    assert (look.receivers, look.hosts, look.disabled) == ((), 0, {})


def test_a_receiver_has_deliveries_due_under_way_and_waiting_for_another_try(
    ledger: Ledger, deliveries: Deliveries, health: ReceiverHealth, clock: Clock
) -> None:
    for _ in range(3):
        to_tell(ledger)
    refused, _ = deliveries.claim(2, 30_000)
    deliveries.note(refused, 503, Verdict.RETRY, 60_000)
    clock.forward(4_000)
    assert health.look().receivers == (Receiver("hook.test", 1, 1, 1, 4_000),)


def test_a_tenant_whose_receiver_is_gone_is_told_until_it_is_enabled(
    ledger: Ledger, deliveries: Deliveries, health: ReceiverHealth
) -> None:
    to_tell(ledger)
    [delivery] = deliveries.claim(1, 30_000)
    deliveries.note(delivery, 410, Verdict.GONE, 0)
    assert health.look().disabled == {"acme": 1}
    deliveries.enable("acme", delivery.webhook.url)
    assert health.look().disabled == {}


def test_no_more_receivers_are_looked_at_than_asked_for(
    ledger: Ledger, health: ReceiverHealth
) -> None:
    for number in range(5):
        to_tell(ledger, f"host-{number}.test")
    look = health.look(2)
    assert (len(look.receivers), look.hosts) == (2, 5)
