"""API keys: their form, whose they are, what they may do, and that the store never has one."""

import re
from typing import Any

import pytest

from jobs.errors import ConfigurationError, NotFound, Unauthorized
from jobs.keys import DEFAULT_SCOPES, LONGEST_S, Keys, Scope, digest_of
from jobs.scripts import PREFIX, Scripts
from tests.ledgers import Clock, everything

DAY = 86_400


def id_of(key: str) -> str:
    """A key's middle part."""
    return key.split("_")[1]


def test_a_key_is_prefix_id_and_secret(keys: Keys) -> None:
    assert re.fullmatch(r"lj_[0-9a-f]{12}_[0-9a-f]{48}", keys.create("acme"))


def test_a_key_belongs_to_its_tenant(keys: Keys) -> None:
    mine, theirs = keys.create("acme"), keys.create("other")
    assert (keys.identify(mine).tenant, keys.identify(theirs).tenant) == ("acme", "other")


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
        keys.identify(change(key))
    assert (refused.value.status, refused.value.code) == (401, "invalid_api_key")
    assert key not in refused.value.message


def test_the_store_holds_no_key(keys: Keys, client: Any) -> None:
    secrets = [keys.create("acme").rsplit("_", 1)[1] for _ in range(3)]
    for name, held in everything(client).items():
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
        keys.identify(key)
    assert keys.identify(other).tenant == "acme"
    assert [k.id for k in keys.list()] == [other.split("_")[1]]


def test_a_key_that_is_not_there_cannot_be_revoked(keys: Keys) -> None:
    with pytest.raises(NotFound, match="keys list"):
        keys.revoke("nothere")


def test_a_key_can_be_set_in_place_of_one_drawn(keys: Keys) -> None:
    secret = "lj_bootstrap_" + "S3cret" * 6
    assert keys.create("acme", secret) == secret
    assert keys.identify(secret).tenant == "acme"


@pytest.mark.parametrize("secret", ["short", "lj_x_" + "a" * 40, "lj_bootstrap_short", " "])
def test_a_key_of_another_form_is_refused_with_the_form(keys: Keys, secret: str) -> None:
    with pytest.raises(ConfigurationError, match="lj_<"):
        keys.create("acme", secret)
    assert keys.list() == []


@pytest.mark.parametrize("tenant", ["", "a b", "a:b", "a/b", ".a", "ä", "a" * 65, "a\n"])
def test_a_tenants_name_that_could_not_be_told_apart_is_refused(keys: Keys, tenant: str) -> None:
    with pytest.raises(ConfigurationError, match="name"):
        keys.create(tenant)


def test_a_key_may_submit_and_read_unless_told_otherwise(keys: Keys) -> None:
    assert keys.identify(keys.create("acme")).scopes == {Scope.SUBMIT, Scope.READ}
    for scope in Scope:
        assert keys.identify(keys.create("acme", scopes=[scope])).scopes == {scope}


def test_a_key_of_before_scopes_submits_and_reads(keys: Keys, client: Any) -> None:
    key = keys.create("acme")
    client.hdel(f"{PREFIX}key:{id_of(key)}", "scopes", "ending")
    found = keys.identify(key)
    assert (found.scopes, found.ending, found.expires) == (DEFAULT_SCOPES, None, None)


def test_a_scope_that_only_a_newer_version_knows_is_left_alone(keys: Keys, client: Any) -> None:
    key = keys.create("acme", scopes=[Scope.READ])
    client.hset(f"{PREFIX}key:{id_of(key)}", "scopes", "fly read")
    assert keys.identify(key).scopes == {Scope.READ}


def test_a_key_works_until_it_expires(keys: Keys, clock: Clock) -> None:
    key = keys.create("acme", expires_in_s=DAY)
    clock.forward((DAY - 1) * 1000)
    assert keys.identify(key).tenant == "acme"
    clock.forward(1000)
    with pytest.raises(Unauthorized) as refused:
        keys.identify(key)
    assert refused.value.code == "expired_api_key"
    assert [k.id for k in keys.list()] == [id_of(key)], "who runs this can see why"


def test_only_whoever_has_the_secret_is_told_that_a_key_has_expired(
    keys: Keys, clock: Clock
) -> None:
    key = keys.create("acme", expires_in_s=1)
    clock.forward(1000)
    with pytest.raises(Unauthorized) as refused:
        keys.identify(f"lj_{id_of(key)}_" + "0" * 48)
    assert refused.value.code == "invalid_api_key"


@pytest.mark.parametrize("seconds", [-1, LONGEST_S + 1])
def test_a_key_cannot_be_given_any_time_at_all(keys: Keys, seconds: int) -> None:
    with pytest.raises(ConfigurationError, match="days"):
        keys.create("acme", expires_in_s=seconds)
    with pytest.raises(ConfigurationError, match="days"):
        keys.create("acme", expires_in_s=0)
    with pytest.raises(ConfigurationError, match="days"):
        keys.rotate(id_of(keys.create("acme")), seconds)


def test_after_a_rotation_both_secrets_work_for_a_while(keys: Keys, clock: Clock) -> None:
    old = keys.create("acme", scopes=[Scope.READ])
    new = keys.rotate(id_of(old), DAY)
    assert id_of(new) == id_of(old)
    assert new != old
    assert keys.identify(new) == keys.identify(old)
    [listed] = keys.list()
    assert (listed.ending, listed.previous_ending) == (new[-4:], old[-4:])
    assert listed.previous_until == clock.now // 1000 + DAY

    clock.forward(DAY * 1000)
    with pytest.raises(Unauthorized):
        keys.identify(old)
    [listed] = keys.list()
    assert (listed.ending, listed.previous_ending, listed.previous_until) == (new[-4:], None, None)
    assert keys.identify(new).scopes == {Scope.READ}


def test_a_rotation_may_end_the_secret_before_at_once(keys: Keys) -> None:
    old = keys.create("acme")
    new = keys.rotate(id_of(old), 0)
    with pytest.raises(Unauthorized):
        keys.identify(old)
    assert keys.identify(new).tenant == "acme"


def test_of_three_secrets_the_oldest_works_no_more(keys: Keys) -> None:
    first = keys.create("acme")
    second = keys.rotate(id_of(first), DAY)
    third = keys.rotate(id_of(first), DAY)
    assert keys.identify(second) == keys.identify(third)
    with pytest.raises(Unauthorized):
        keys.identify(first)


def test_a_key_that_is_not_there_can_be_neither_rotated_nor_shown(keys: Keys, client: Any) -> None:
    with pytest.raises(NotFound):
        keys.rotate("nothere", DAY)
    with pytest.raises(NotFound):
        keys.get("nothere")
    assert not everything(client)


def test_a_revoked_key_has_no_secret_left(keys: Keys) -> None:
    old = keys.create("acme")
    new = keys.rotate(id_of(old), DAY)
    keys.revoke(id_of(old))
    for key in (old, new):
        with pytest.raises(Unauthorized):
            keys.identify(key)


def test_a_rotated_key_is_not_in_the_store_either(keys: Keys, client: Any) -> None:
    key = keys.rotate(id_of(keys.create("acme")), DAY)
    assert key.split("_")[2] not in repr(client.hgetall(f"{PREFIX}key:{id_of(key)}"))


def test_nothing_is_told_of_a_key_before_it_is_on_disk(keys: Keys, client: Any) -> None:
    def syncs() -> int:
        told = client.info("commandstats").get("cmdstat_waitaof", {"calls": 0})
        return int(told["calls"])

    before = syncs()
    key = keys.create("acme")
    assert syncs() == before + 1
    keys.rotate(id_of(key), DAY)
    assert syncs() == before + 2
    keys.revoke(id_of(key))
    assert syncs() == before + 3


def test_a_rotation_sent_twice_leaves_the_secret_before_its_time(keys: Keys, client: Any) -> None:
    key = keys.create("acme")
    until = int(keys.get(id_of(key)).created) + DAY
    for _ in range(2):  # as the client does where it hears no reply
        Scripts(client).run("rotate", id_of(key), digest_of("new"), "enew", until)
    assert keys.identify(key).id == id_of(key)


def test_a_key_that_has_expired_is_listed_for_a_month_and_then_unknown(
    keys: Keys, client: Any
) -> None:
    lasting, key_id = id_of(keys.create("acme")), id_of(keys.create("acme", expires_in_s=60))
    left = client.pttl(f"{PREFIX}key:{key_id}")
    assert 0 <= (30 * DAY + 60) * 1000 - left < 60_000
    assert client.pttl(f"{PREFIX}key:{lasting}") == -1
    client.delete(f"{PREFIX}key:{key_id}")  # the month is over
    assert [key.id for key in keys.list()] == [lasting]
    assert client.scard(f"{PREFIX}keys") == 1


def test_keys_that_expired_in_an_older_programs_hands_go_as_others_are_made(
    keys: Keys, client: Any
) -> None:
    for number in range(5):
        client.hset(f"{PREFIX}key:old{number}", mapping={"tenant": "acme", "expires": 1})
        client.sadd(f"{PREFIX}keys", f"old{number}", f"lost{number}")
    kept = id_of(keys.create("acme"))
    assert client.smembers(f"{PREFIX}keys") == {kept.encode()}
    assert not client.keys(f"{PREFIX}key:old*")
