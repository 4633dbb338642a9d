"""Receivers that verify with the `standardwebhooks` package are told by a real sender."""

import itertools
import json
import socket
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tests.eventually import PATIENCE_S, eventually
from tests.installations import submit
from tests.receivers import Received, Receiver, resets, status
from tests.unit.api.pictures import encoded, scene

PICTURE = encoded(scene(), "PNG")


class Verifying:
    """A receiver as Standard Webhooks documents it: 204 to what it can verify, 401 to the rest."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.told: list[Any] = []
        self.refused = 0
        self.server = Receiver()
        self.server.behaviour = self._behave

    def _behave(self, peer: socket.socket, received: Received) -> None:
        try:
            self.told.append(Webhook(self.secret).verify(received.body, received.headers))
        except WebhookVerificationError:
            self.refused += 1
            status(401)(peer, received)
        else:
            status(204)(peer, received)


@pytest.fixture
def secret(newcomer: httpx.Client) -> str:
    """The tenant's newest secret."""
    return rotated(newcomer)


@pytest.fixture
def verifying(secret: str) -> Iterator[Verifying]:
    """A receiver that knows that secret."""
    receiver = Verifying(secret)
    yield receiver
    receiver.server.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that answers as a test wants it to."""
    running = Receiver()
    yield running
    running.close()


def rotated(http: httpx.Client) -> str:
    """A new secret."""
    response = http.post("/v1/webhooks/secret/rotate")
    response.raise_for_status()
    return str(response.json()["secret"])


def asked(http: httpx.Client, url: str, **fields: Any) -> str:
    """The id of a job that is soon answered, and told there."""
    webhook = json.dumps({"url": url})
    return str(submit(http, PICTURE, webhook=webhook, max_new_tokens=1, **fields)["id"])


def delivery(http: httpx.Client, job_id: str) -> dict[str, Any] | None:
    """What was told of a job."""
    data: list[dict[str, Any]] = http.get(f"/v1/jobs/{job_id}/deliveries").json()["data"]
    return data[0] if data else None


def test_a_receiver_is_told_what_it_can_verify(
    newcomer: httpx.Client, verifying: Verifying
) -> None:
    metadata = {"名": "\u202eE42\u200d", "quotes": "'\"\\"}
    job_id = asked(
        newcomer, verifying.server.url(), group="ticket ü", metadata=json.dumps(metadata)
    )
    [told] = eventually(lambda: verifying.told, "it is told")
    assert told == {
        "id": job_id,
        "status": "succeeded",
        "group": "ticket ü",
        "metadata": metadata,
        "link": f"/v1/jobs/{job_id}",
    }
    assert newcomer.get(told["link"]).json()["id"] == job_id
    [received] = verifying.server.received
    for torn in (
        {"body": received.body.replace(b"succeeded", b"failed")},
        {"body": received.body + b" "},
        {"headers": {**received.headers, "webhook-id": "msg_other"}},
        {"headers": {**received.headers, "webhook-timestamp": "1700000000"}},
    ):
        sent: dict[str, Any] = {"body": received.body, "headers": received.headers, **torn}
        with pytest.raises(WebhookVerificationError):
            Webhook(verifying.secret).verify(sent["body"], sent["headers"])


def test_through_a_rotation_receivers_with_either_secret_are_told(
    newcomer: httpx.Client, verifying: Verifying
) -> None:
    behind = verifying
    ahead = Verifying(rotated(newcomer))
    for receiver in (behind, ahead):
        asked(newcomer, receiver.server.url())
        eventually(partial(getattr, receiver, "told"), "it is told")
    rotated(newcomer)
    for receiver in (behind, ahead):
        asked(newcomer, receiver.server.url())
    eventually(lambda: len(ahead.told) == 2, "the one that has the secret before is told")
    eventually(lambda: behind.refused, "the one that has an ended secret sees that")
    assert (len(behind.told), ahead.refused) == (1, 0)
    ahead.server.close()


def test_a_receiver_that_fails_is_told_again_under_the_same_id(
    newcomer: httpx.Client, verifying: Verifying
) -> None:
    verifies, answers = verifying.server.behaviour, itertools.count()

    def once_broken(peer: socket.socket, received: Received) -> None:
        (status(500) if next(answers) == 0 else verifies)(peer, received)

    verifying.server.behaviour = once_broken
    job_id = asked(newcomer, verifying.server.url())
    eventually(lambda: verifying.told, "it is told again")
    first, second = verifying.server.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.headers["webhook-timestamp"] <= second.headers["webhook-timestamp"]
    assert first.body == second.body
    eventually(lambda: (delivery(newcomer, job_id) or {})["status"] == "delivered", "it is noted")
    attempts = (delivery(newcomer, job_id) or {})["attempts"]
    assert [attempt["status_code"] for attempt in attempts] == [500, 204]


def test_a_receiver_that_does_not_want_it_is_left_alone_and_others_are_told(
    newcomer: httpx.Client, verifying: Verifying, receiver: Receiver
) -> None:
    def moved(peer: socket.socket, received: Received) -> None:
        status(302, f"Location: {verifying.server.url()}\r\n")(peer, received)

    outcomes = {}
    for name, behaviour in {"gone": status(410), "moved": moved, "reset": resets}.items():
        receiver.behaviour = behaviour
        job_id = asked(newcomer, receiver.url(f"/{name}"))
        outcomes[name] = eventually(partial(tried, newcomer, job_id), "it is tried")
    free = threading.Event()

    def held(peer: socket.socket, received: Received) -> None:
        free.wait(PATIENCE_S)
        status(200)(peer, received)

    receiver.behaviour = held
    asked(newcomer, receiver.url("/held"))
    eventually(lambda: receiver.received[-1].line == "POST /held HTTP/1.1", "it is being told")
    asked(newcomer, verifying.server.url())
    eventually(lambda: verifying.told, "another is told meanwhile")
    free.set()
    assert {name: told["status"] for name, told in outcomes.items()} == {
        "gone": "disabled",
        "moved": "pending",
        "reset": "pending",
    }
    assert outcomes["reset"]["attempts"][0]["error"] == "connection_lost"
    assert len(verifying.told) == 1, "a redirect is not followed"


def tried(http: httpx.Client, job_id: str) -> dict[str, Any] | None:
    """What was told of a job, once it was tried."""
    found = delivery(http, job_id)
    return found if found and found["attempts"] else None
