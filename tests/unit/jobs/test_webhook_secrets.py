"""A tenant has one secret, shown once, and for a day after a rotation the one before."""

import base64
from typing import Any

import pytest

from jobs.errors import ConfigurationError, Conflict, StoreUnavailable
from jobs.webhook_secrets import OVERLAP_MS, WebhookSecrets
from tests.ledgers import Clock


@pytest.fixture
def secrets(client: Any, clock: Clock) -> WebhookSecrets:
    """The secrets of the store, by the test's clock."""
    return WebhookSecrets(client, clock)


def test_a_secret_is_made_once(secrets: WebhookSecrets) -> None:
    assert secrets.valid("acme") == []
    secret = secrets.create("acme")
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    assert secrets.valid("acme") == [secret]
    with pytest.raises(Conflict) as raised:
        secrets.create("acme")
    assert raised.value.code == "webhook_secret_exists"
    assert secrets.valid("acme") == [secret]
    assert secrets.valid("other") == []


def test_after_a_rotation_both_secrets_sign_for_a_day(
    secrets: WebhookSecrets, clock: Clock
) -> None:
    first = secrets.create("acme")
    second = secrets.rotate("acme")
    assert secrets.valid("acme") == [second, first]
    clock.forward(OVERLAP_MS - 1)
    assert secrets.valid("acme") == [second, first]
    clock.forward(1)
    assert secrets.valid("acme") == [second]


def test_a_second_rotation_ends_a_secret_that_leaked(secrets: WebhookSecrets) -> None:
    secrets.create("acme")
    second = secrets.rotate("acme")
    third = secrets.rotate("acme")
    assert secrets.valid("acme") == [third, second]


def test_a_rotation_makes_the_first_secret_where_there_is_none(secrets: WebhookSecrets) -> None:
    secret = secrets.rotate("acme")
    assert secrets.valid("acme") == [secret]


@pytest.mark.parametrize("name", ["", "a b", "-a", "x" * 65])
def test_only_a_tenant_has_a_secret(secrets: WebhookSecrets, name: str) -> None:
    for make in (secrets.create, secrets.rotate):
        with pytest.raises(ConfigurationError):
            make(name)


def test_nobody_is_told_a_secret_before_it_is_on_disk(client: Any, clock: Clock) -> None:
    def syncs() -> int:
        told = client.info("commandstats").get("cmdstat_waitaof", {"calls": 0})
        return int(told["calls"])

    secrets = WebhookSecrets(client, clock)
    before = syncs()
    secrets.create("acme")
    secrets.rotate("acme")
    assert syncs() == before + 2
    unconfirmed = WebhookSecrets(client, clock, replicas=1)
    with pytest.raises(StoreUnavailable):
        unconfirmed.rotate("acme")
