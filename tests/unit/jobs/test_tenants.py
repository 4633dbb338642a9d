"""Tenants' own limits: kept in the store, and what the ledger makes of them."""

from typing import Any

import pytest

from jobs.errors import ConfigurationError, TenantQueueFull
from jobs.ledger import Ledger
from jobs.scripts import PREFIX
from jobs.tenants import TenantLimits, Tenants
from tests.conftest import NewLedger
from tests.ledgers import ANSWER, Clock, claimed, draft, everything, submitted


@pytest.fixture
def tenants(client: Any) -> Tenants:
    """The tenants of an empty store."""
    return Tenants(client)


def test_a_tenant_has_the_installations_limits_until_it_is_given_its_own(tenants: Tenants) -> None:
    assert tenants.limits("acme") == TenantLimits()
    tenants.set_limits("acme", TenantLimits(queued_jobs=5, retention_s=60))
    assert tenants.limits("acme") == TenantLimits(5, None, 60)
    assert tenants.limits("other") == TenantLimits()
    assert tenants.with_limits() == ["acme"]


def test_limits_are_set_all_at_once(tenants: Tenants, client: Any) -> None:
    tenants.set_limits("acme", TenantLimits(5, 6, 7))
    tenants.set_limits("acme", TenantLimits(requests_per_minute=8))
    assert tenants.limits("acme") == TenantLimits(None, 8, None)
    tenants.set_limits("acme", TenantLimits())
    assert not everything(client)


@pytest.mark.parametrize("name", ["", "a:b", "a b", "." * 3])
def test_what_cannot_be_a_tenant_has_no_limits(tenants: Tenants, name: str) -> None:
    with pytest.raises(ConfigurationError, match="name"):
        tenants.set_limits(name, TenantLimits(5))


def test_a_tenants_own_queue_limit_is_above_or_below_the_installations(
    tenants: Tenants, new_ledger: NewLedger
) -> None:
    ledger = new_ledger(tenant_queue=2)
    tenants.set_limits("small", TenantLimits(queued_jobs=1))
    tenants.set_limits("large", TenantLimits(queued_jobs=3))
    tenants.set_limits("none", TenantLimits(queued_jobs=0))
    for tenant, most in (("small", 1), ("large", 3), ("none", 0), ("acme", 2)):
        for _ in range(most):
            submitted(ledger, tenant)
        assert tenants.queued(tenant) == most
        with pytest.raises(TenantQueueFull, match=f"\\({most}\\)"):
            ledger.submit(draft(tenant))


def test_a_tenants_jobs_are_kept_as_long_as_it_is_to_have_them(
    tenants: Tenants, ledger: Ledger, clock: Clock, client: Any
) -> None:
    tenants.set_limits("acme", TenantLimits(retention_s=60))
    short = submitted(ledger, "acme", idempotency_key="once")
    tenants.set_limits("acme", TenantLimits())
    long = submitted(ledger, "acme")
    for _ in (short, long):
        ledger.finish(claimed(ledger), ANSWER)
    ended = ledger.get("acme", short)
    assert ended is not None
    assert ended.expires_at == clock.now + 60_000
    clock.forward(60_000)
    ledger.sweep()
    assert ledger.get("acme", short) is None
    assert not client.exists(f"{PREFIX}idempotency:acme:once")
    assert ledger.get("acme", long) is not None, "accepted when the installation's limit held"


def test_tenants_are_told_by_how_many_of_their_jobs_wait(tenants: Tenants, ledger: Ledger) -> None:
    assert tenants.waiting() == {}
    for tenant in ("acme", "other", "other"):
        submitted(ledger, tenant)
    assert list(tenants.waiting().items()) == [("other", 2), ("acme", 1)]
    claimed(ledger)
    assert sum(tenants.waiting().values()) == 2
