"""API keys: their form, whom they belong to, and that the store never has one."""

import re
from typing import Any

import pytest

from jobs.errors import ConfigurationError, NotFound, Unauthorized
from jobs.keys import Keys


@pytest.fixture
def keys(client: Any) -> Keys:
    """The keys of an empty store."""
    return Keys(client)


def test_a_key_is_prefix_id_and_secret(keys: Keys) -> None:
    assert re.fullmatch(r"lj_[0-9a-f]{12}_[0-9a-f]{48}", keys.create("acme"))


def test_a_key_belongs_to_its_tenant(keys: Keys) -> None:
    mine, theirs = keys.create("acme"), keys.create("other")
    assert (keys.tenant(mine), keys.tenant(theirs)) == ("acme", "other")


@pytest.mark.parametrize(
    "change",
    [
        lambda _: "",
        lambda key: key[:-1],
        lambda key: key + "0",
        lambda key: key[:-1] + ("0" if key[-1] != "0" else "1"),
        lambda key: key.upper(),
        lambda key: key.rsplit("_", 1)[0] + "_" + "0" * 48,
        lambda key: "lj_000000000000_" + key.rsplit("_", 1)[1],
        lambda key: f" {key}",
        lambda key: key + "\n",
        lambda _: "lj_*_" + "a" * 48,
        lambda _: "schlüssel",
    ],
)
def test_what_is_not_the_key_to_the_letter_is_nobodys(keys: Keys, change: Any) -> None:
    key = keys.create("acme")
    with pytest.raises(Unauthorized) as refused:
        keys.tenant(change(key))
    assert (refused.value.status, refused.value.code) == (401, "invalid_api_key")
    assert key not in refused.value.message


def test_the_store_holds_no_key(keys: Keys, client: Any) -> None:
    secrets = [keys.create("acme").rsplit("_", 1)[1] for _ in range(3)]
    for name in client.scan_iter():
        held = client.hgetall(name) if client.type(name) == b"hash" else client.smembers(name)
        text = repr((name, held))
        assert not [secret for secret in secrets if secret in text]


def test_keys_are_listed_without_their_secrets(keys: Keys) -> None:
    made = [keys.create("acme"), keys.create("other")]
    assert {(key.id, key.tenant) for key in keys.list()} == {
        (made[0].split("_")[1], "acme"),
        (made[1].split("_")[1], "other"),
    }
    assert all(key.rsplit("_", 1)[1] not in repr(keys.list()) for key in made)


def test_a_revoked_key_is_nobodys_at_once(keys: Keys) -> None:
    key, other = keys.create("acme"), keys.create("acme")
    keys.revoke(key.split("_")[1])
    with pytest.raises(Unauthorized):
        keys.tenant(key)
    assert keys.tenant(other) == "acme"
    assert [k.id for k in keys.list()] == [other.split("_")[1]]


def test_a_key_that_is_not_there_cannot_be_revoked(keys: Keys) -> None:
    with pytest.raises(NotFound, match="keys list"):
        keys.revoke("nothere")


def test_a_key_can_be_set_in_place_of_one_drawn(keys: Keys) -> None:
    secret = "lj_bootstrap_" + "S3cret" * 6
    assert keys.create("acme", secret) == secret
    assert keys.tenant(secret) == "acme"


@pytest.mark.parametrize("secret", ["short", "lj_x_" + "a" * 40, "lj_bootstrap_short", " "])
def test_a_key_of_another_form_is_refused_with_the_form(keys: Keys, secret: str) -> None:
    with pytest.raises(ConfigurationError, match="lj_<"):
        keys.create("acme", secret)
    assert keys.list() == []


@pytest.mark.parametrize("tenant", ["", "a b", "a:b", "a/b", ".a", "ä", "a" * 65, "a\n"])
def test_a_tenants_name_that_could_not_be_told_apart_is_refused(keys: Keys, tenant: str) -> None:
    with pytest.raises(ConfigurationError, match="name"):
        keys.create(tenant)
