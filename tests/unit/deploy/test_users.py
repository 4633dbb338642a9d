"""deploy/users.acl names every family of keys there is, for those who need it and nobody else."""

import re

import pytest

from tests.deployment import DEPLOY, ROLES, ROOT

TEXT = (DEPLOY / "users.acl").read_text()
RULES = dict(re.findall(r"^user (\w+) (.+?)(?=^\S|\Z)", TEXT, re.MULTILINE | re.DOTALL))
NOT_FOR_WORKERS = {
    # Keys of the API, and what callers may do.
    *("key", "keys", "session", "tenants", "limits", "rate", "paused"),
    # What only the API writes.
    *("seq", "upload", "file", "files", "batches", "open-batches"),
    *("webhook-secret", "keys-by-tenant", "gone-tenants", "gone-since", "call"),
}


WORKERS_RUN = (
    *(
        "shared",
        "claim",
        "count",
        "crash",
        "finish",
        "hint",
        "leave",
        "release",
        "renew",
        "retire",
        "say",
        "sweep",
    ),
)
SENDERS_RUN = ("deliver", "delivered")
LUA = {path.stem: path.read_text() for path in (ROOT / "jobs" / "lua").glob("*.lua")}


def families_in(lua: str) -> set[str]:
    """The first words of the keys and channels that scripts spell."""
    return set(re.findall(r"\bkey\('([a-z-]+)'", lua)) | set(
        re.findall(r"\beach_due\('(\w+)'", lua)
    )


def families() -> set[str]:
    """The first words of all keys and channels that jobs/ spells."""
    python = "".join(path.read_text() for path in (ROOT / "jobs").glob("*.py"))
    return families_in("".join(LUA.values())) | set(re.findall(r"\{PREFIX\}([a-z-]+)", python))


def granted(user: str) -> set[str]:
    """The first words of the keys and channels that a user may see."""
    return set(re.findall(r"[~&]lj:([a-z-]+)", RULES[user]))


def test_there_is_one_user_a_role_and_none_without_a_name() -> None:
    assert set(RULES) == {"default", "health", *(role.lower() for role in ROLES)}
    assert RULES["default"].split() == ["off", "resetpass", "resetkeys", "resetchannels", "-@all"]
    for role in ROLES:
        assert RULES[role.lower()].startswith(f"on #{role}_DIGEST")


def test_workers_see_every_family_of_keys_but_those_that_are_none_of_their_business() -> None:
    assert granted("worker") | NOT_FOR_WORKERS == families()
    assert granted("worker") & NOT_FOR_WORKERS == set()


def test_each_may_see_what_the_scripts_that_it_runs_may_come_to() -> None:
    assert families_in("".join(LUA[name] for name in WORKERS_RUN)) <= granted("worker")
    assert families_in("".join(LUA[name] for name in SENDERS_RUN)) <= granted("sender")


def test_the_sender_sees_only_what_there_is() -> None:
    assert granted("sender") < families()


@pytest.mark.parametrize("user", ["api", "worker", "sender"])
def test_dangerous_commands_are_taken_away_after_all_that_is_given_by_kind(user: str) -> None:
    words = RULES[user].split()
    kinds = [i for i, word in enumerate(words) if word.startswith("+@")]
    assert words.index("-@dangerous") > max(kinds)
    assert "+@all" not in words
