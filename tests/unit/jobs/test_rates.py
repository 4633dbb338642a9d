"""How many requests a tenant may send: all of a minute's at once, then evenly as they come back."""

from collections.abc import Callable
from typing import Any

import pytest

from jobs.errors import Unauthorized
from jobs.keys import Keys, Scope
from jobs.rates import Rates, Share
from jobs.tenants import TenantLimits, Tenants
from tests.eventually import eventually
from tests.ledgers import Clock

NewRates = Callable[[int], Rates]


@pytest.fixture
def rates(new_rates: NewRates) -> Rates:
    """Sixty requests a minute for everybody."""
    return new_rates(60)


@pytest.fixture
def new_rates(client: Any, clock: Clock) -> NewRates:
    """Makes rates on an empty store, by the test's clock."""
    return lambda per_minute: Rates(client, per_minute, clock=clock)


def admitted(rates: Rates, at_most: int, tenant: str = "acme") -> int:
    """How many requests pass before one does not."""
    for number in range(at_most):
        if not rates.spend(tenant).admitted:
            return number
    return at_most


def test_what_is_left_is_told_with_each_request(new_rates: NewRates) -> None:
    rates = new_rates(60)
    assert rates.spend("acme") == Share(True, 60, 59, 0, 1_000)
    assert rates.spend("acme") == Share(True, 60, 58, 0, 2_000)


@pytest.mark.parametrize("per_minute", [1, 2, 7, 60, 599])
def test_all_of_a_minute_may_come_at_once_and_not_one_more(
    new_rates: NewRates, per_minute: int
) -> None:
    assert admitted(new_rates(per_minute), per_minute + 5) == per_minute


def test_requests_come_back_evenly(new_rates: NewRates, clock: Clock) -> None:
    rates = new_rates(60)
    admitted(rates, 100)
    refused = rates.spend("acme")
    assert refused == Share(False, 60, 0, 1_000, 60_000)
    clock.forward(999)
    assert not rates.spend("acme").admitted
    clock.forward(1)
    assert rates.spend("acme").admitted
    assert not rates.spend("acme").admitted
    clock.forward(10_000)
    assert admitted(rates, 100) == 10


def test_where_the_clock_went_back_nothing_has_been_spent(
    new_rates: NewRates, clock: Clock
) -> None:
    rates = new_rates(60)
    clock.forward(3_600_000)
    rates.spend("acme")
    clock.forward(-3_600_000)
    assert admitted(rates, 100) == 60


def test_over_an_hour_no_more_pass_than_may(new_rates: NewRates, clock: Clock) -> None:
    rates, passed = new_rates(10), 0
    for _ in range(3_600):
        clock.forward(1_000)
        passed += rates.spend("acme").admitted
    assert passed == 10 + 10 * 60 - 1


def test_refused_requests_cost_nothing(new_rates: NewRates, clock: Clock) -> None:
    rates = new_rates(1)
    rates.spend("acme")
    waits = [rates.spend("acme").wait for _ in range(3)]
    assert waits == [60_000] * 3


def test_one_tenants_requests_are_not_anothers(new_rates: NewRates) -> None:
    rates = new_rates(2)
    admitted(rates, 5)
    assert admitted(rates, 5, "other") == 2


def test_a_tenants_own_limit_comes_first_and_counts_at_once(
    new_rates: NewRates, client: Any, clock: Clock
) -> None:
    rates = new_rates(5)
    Tenants(client).set_limits("acme", TenantLimits(requests_per_minute=3))
    assert rates.spend("acme").limit == 3
    assert admitted(rates, 10) == 2
    Tenants(client).set_limits("acme", TenantLimits(requests_per_minute=6))
    clock.forward(30_000)
    assert admitted(rates, 10) == 3, "half of the minute has come back"


def test_nothing_is_kept_of_a_tenant_that_is_idle(client: Any) -> None:
    Rates(client, 60).spend("acme")
    [name] = client.keys()
    assert 0 < client.pttl(name) <= 3_600_000


def test_what_is_spent_is_not_written_to_disk(client: Any) -> None:
    rates = Rates(client, 60)
    rates.spend("acme")
    before = client.info("replication")["master_repl_offset"], client.info()["aof_current_size"]
    for _ in range(10):
        rates.spend("acme")
    after = client.info("replication")["master_repl_offset"], client.info()["aof_current_size"]
    assert after == before


def test_a_request_after_a_pause_is_not_written_to_disk_either(client: Any) -> None:
    """A key that has expired is written there as deleted, by whoever looks at it next."""
    rates = Rates(client, 60_000)
    rates.spend("acme")
    before, asked = client.info()["aof_current_size"], client.time()
    eventually(lambda: client.time() > (asked[0], asked[1] + 10_000), "ten requests came back")
    assert rates.spend("acme").left == 59_999
    assert client.info()["aof_current_size"] == before


def test_a_request_is_its_keys_tenants(keys: Keys, rates: Rates) -> None:
    key = keys.create("acme", scopes=[Scope.READ])
    found, share = rates.admit(keys, key)
    assert found == keys.identify(key)
    assert share == Share(True, 60, 59, 0, 1_000)
    assert rates.spend("acme").left == 58


def test_both_secrets_of_a_rotated_key_count(keys: Keys, rates: Rates) -> None:
    old = keys.create("acme")
    new = keys.rotate(old.split("_")[1], 60)
    assert [rates.admit(keys, key)[1].left for key in (old, new)] == [59, 58]


def test_what_no_good_key_is_sent_with_costs_nobody_anything(
    keys: Keys, rates: Rates, clock: Clock
) -> None:
    expired, old = keys.create("acme", expires_in_s=10), keys.create("acme")
    keys.rotate(old.split("_")[1], 10)
    revoked = keys.create("acme")
    keys.revoke(revoked.split("_")[1])
    clock.forward(10_000)
    for key in (expired, old, revoked, old[:-1] + "x", "no key"):
        with pytest.raises(Unauthorized):
            rates.admit(keys, key)
    assert rates.spend("acme").left == 59


def test_where_clocks_disagree_a_keys_last_request_is_counted(client: Any, clock: Clock) -> None:
    behind = Keys(client, lambda: clock.now / 1000 - 5)
    key = behind.create("acme", expires_in_s=3)
    rates = Rates(client, 60, clock=clock)
    assert rates.admit(behind, key)[1].left == 59
