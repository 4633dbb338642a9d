"""How often the store is asked for a request: each time costs a tenth of a millisecond, twice."""

import threading
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from redis.connection import AbstractConnection

from jobs.keys import Keys, Scope
from jobs.ledger import Ledger
from jobs.pace import Paces
from tests.ledgers import ANSWER, MODEL, submitted
from tests.unit.api.conftest import Caller


@pytest.fixture
def trips(app: Flask, client: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What this thread sends to the store, a pipeline at a time; paces are kept for a while."""
    parts = app.extensions["services"]
    paces = Paces(client, parts.ledger)
    monkeypatch.setitem(app.extensions, "services", replace(parts, paces=paces))
    sent: list[Any] = []
    send, us = AbstractConnection.send_packed_command, threading.current_thread()

    def noted(connection: Any, command: Any, *arguments: Any, **options: Any) -> Any:
        if threading.current_thread() is us:
            sent.append(command)
        return send(connection, command, *arguments, **options)

    monkeypatch.setattr(AbstractConnection, "send_packed_command", noted)
    return sent


def packed(sent: Any) -> bytes:
    """What was sent, as it went over the wire."""
    return sent if isinstance(sent, bytes) else b"".join(bytes(part) for part in sent)


def test_a_submission_is_two_round_trips(api: Caller, trips: list[Any]) -> None:
    api.submit(cache=False)  # which connects, and brings the scripts
    trips.clear()
    api.submit(cache=False)
    assert len(trips) == 2, "the key and the rate; the job with its picture, its place, its hint"


def test_a_poll_is_three_round_trips_and_two_once_the_job_has_ended(
    api: Caller, books: Ledger, trips: list[Any]
) -> None:
    job_id = api.submit()
    api.job(job_id)
    trips.clear()
    api.job(job_id)
    assert len(trips) == 3, "the key and the rate, the job, its place"

    claim = books.claim(MODEL, "w1")
    assert claim is not None
    books.finish(claim, ANSWER)
    trips.clear()
    api.job(job_id)
    assert len(trips) == 2, "the key and the rate, the job"


@pytest.mark.parametrize(("method", "path"), [("POST", "/cancel"), ("DELETE", "")])
def test_a_group_of_250_is_a_script_for_100_jobs_and_one_sync(
    api: Caller, books: Ledger, trips: list[Any], method: str, path: str
) -> None:
    for group, jobs in (("few", 1), ("many", 250)):
        for _ in range(jobs):
            submitted(books, group=group)
    api(method, f"/v1/groups/few{path}")  # which connects, and brings the script
    trips.clear()
    assert api(method, f"/v1/groups/many{path}").status_code < 300
    looks = 1 if method == "POST" else 0
    assert len(trips) == 2 + 3 + looks, "the key and the rate; the group; the scripts; the jobs"
    assert sum(b"WAITAOF" in packed(sent) for sent in trips) == 1, "the sync to disk"


@pytest.mark.parametrize(("path", "needed"), [("keys", 3), ("tenants", 2)])
def test_a_list_for_administrators_is_as_many_round_trips_however_many_there_are(
    app: Flask, client: Any, trips: list[Any], path: str, needed: int
) -> None:
    keys = Keys(client)
    admin = Caller(app.test_client(), keys.create("ops", scopes=[Scope.ADMIN]))
    for number in range(150):
        keys.create(f"tenant-{number}")
    admin("GET", f"/v1/admin/{path}")  # which connects, and brings the scripts
    trips.clear()
    assert len(admin("GET", f"/v1/admin/{path}").get_json()["data"]) == 100
    assert len(trips) == 1 + needed, "the key and the rate; the index, a page of it, its records"
