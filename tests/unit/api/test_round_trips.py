"""How often the store is asked for a request: each time costs a tenth of a millisecond, twice."""

import threading
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from redis.connection import AbstractConnection

from jobs.ledger import Ledger
from jobs.pace import Paces
from tests.ledgers import ANSWER, MODEL
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
