"""A job that supersedes its group: all of it, however many follow each, no script too long."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.ledger import Ledger
from jobs.request import Conversation, Turn
from tests.ledgers import assert_counts_are_true, claimed, draft, events, records, submitted

LEADERS = 6
FOLLOWERS = 60


@pytest.fixture
def followed(ledger: Ledger) -> list[str]:
    """Jobs of a group, each of which many jobs of no group follow."""
    leaders = []
    for number in range(LEADERS):
        same = Conversation((Turn("user", (f"What is {number}?",)),))
        leaders.append(submitted(ledger, conversation=same, group="g"))
        for _ in range(FOLLOWERS):
            submitted(ledger, conversation=same)
    return leaders


def test_all_of_a_group_are_superseded_and_those_that_followed_go_on(
    client: Any, ledger: Ledger, followed: list[str]
) -> None:
    newest = submitted(ledger, group="g", supersede=True)
    found = records(client)
    assert {found[job_id]["reason"] for job_id in followed} == {"superseded"}
    waiting = [one for one in found.values() if one["status"] == "queued"]
    assert len(waiting) == LEADERS * FOLLOWERS + 1
    assert found[newest]["status"] == "queued"
    assert_counts_are_true(client, ledger)


def test_one_script_touches_no_more_jobs_however_many_follow(
    client: Any, ledger: Ledger, followed: list[str]
) -> None:
    client.config_resetstat()
    submitted(ledger, group="g", supersede=True)
    stats = client.info("commandstats")
    scripts = stats["cmdstat_evalsha"]["calls"]
    touched = stats["cmdstat_hgetall"]["calls"]
    assert touched >= LEADERS * FOLLOWERS
    assert scripts >= touched // 200 + 1


def test_a_repeated_call_goes_on_where_the_first_one_was_cut_off(
    client: Any, ledger: Ledger, followed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = draft(group="g", supersede=True)
    run = ledger.scripts.run
    monkeypatch.setattr(
        ledger, "_run", lambda name, *a, **k: name != "supersede" and run(name, *a, **k)
    )
    ledger.submit(newest)
    left = [job_id for job_id in followed if records(client)[job_id]["status"] == "queued"]
    assert left
    monkeypatch.undo()
    later = submitted(ledger, group="g")
    ledger.submit(newest)
    found = records(client)
    assert {found[job_id]["status"] for job_id in followed} == {"canceled"}
    assert found[later]["status"] == "queued", "it was asked after the one that supersedes"
    assert not found[newest.id]["superseding"]


def test_superseding_a_few_takes_one_script(client: Any, ledger: Ledger) -> None:
    waiting, running = submitted(ledger, group="g"), submitted(ledger, group="g")
    claimed(ledger)
    client.config_resetstat()
    newest = submitted(ledger, group="g", supersede=True)
    assert client.info("commandstats")["cmdstat_evalsha"]["calls"] == 1
    ended = [(job_id, reason) for job_id, status, reason in events(client) if status == "canceled"]
    assert ended == [(running, "superseded")]
    assert records(client)[waiting]["cancel_requested"]
    assert records(client)[newest]["status"] == "queued"
