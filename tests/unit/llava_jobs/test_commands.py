"""`llava-jobs keys` and `llava-jobs tenants`, on a store that runs."""

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from jobs.keys import Keys, Scope
from jobs.tenants import TenantLimits, Tenants
from llava_jobs.cli import cli
from llava_jobs.embedded import EmbeddedStore

Command = Callable[..., str]


@pytest.fixture
def command(store: EmbeddedStore, client: Any) -> Command:
    """Runs a command on the store and returns what it prints."""

    def run(*words: str, status: int = 0) -> str:
        environment = {"LLAVA_JOBS_REDIS_URL": store.url}
        result = CliRunner().invoke(cli, words, env=environment)
        assert result.exit_code == status, result.output
        return (result.output if status else result.stdout).strip()

    return run


def test_a_key_has_the_scopes_and_the_time_that_it_is_given(command: Command, client: Any) -> None:
    words = ("--tenant", "acme", "--scope", "read", "--scope", "admin", "--expires-in", "90d")
    key = Keys(client).identify(command("keys", "create", *words))
    assert key.tenant == "acme"
    assert key.scopes == {Scope.READ, Scope.ADMIN}
    assert key.expires == key.created + 90 * 86_400


def test_the_list_shows_which_secrets_work(command: Command) -> None:
    old = command("keys", "create", "--tenant", "acme")
    new = command("keys", "rotate", old.split("_")[1], "--overlap", "2h")
    listed = command("keys", "list")
    assert "read,submit" in listed
    assert "never" in listed
    assert f"{old[-4:]} until 20" in listed
    assert new[-4:] in listed
    for secret in (old, new):
        assert secret.split("_")[2] not in listed


def test_a_rotation_ends_the_secret_before_at_once_where_it_is_told_to(
    command: Command, client: Any
) -> None:
    old = command("keys", "create")
    new = command("keys", "rotate", old.split("_")[1], "--overlap", "0")
    assert Keys(client).identify(new).previous_until is None


@pytest.mark.parametrize(
    "words",
    [
        ("keys", "create", "--scope", "fly"),
        ("keys", "create", "--expires-in", "soon"),
        ("tenants", "limit", "acme", "--queued-jobs", "-1"),
        ("tenants", "limit", "acme", "--retention", "1ms"),
    ],
)
def test_what_cannot_be_is_told(command: Command, words: tuple[str, ...]) -> None:
    assert words[-2] in command(*words, status=2)


def test_a_tenants_limits_are_set_and_listed(command: Command, client: Any) -> None:
    limits = ("--queued-jobs", "5", "--retention", "7d", "--image-bytes", "1000")
    command("tenants", "limit", "acme", *limits)
    assert Tenants(client).limits("acme") == TenantLimits(5, None, 7 * 86_400, 1000)
    shown = command("tenants", "list").splitlines()[1].split()
    assert shown == ["acme", "0", "5", "604800", "1000"]
    command("tenants", "limit", "acme")
    assert Tenants(client).limits("acme") == TenantLimits()
