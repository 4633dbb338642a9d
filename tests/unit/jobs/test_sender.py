"""Receivers are told how jobs ended, signed, again and again until they listen."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook as Judge
from standardwebhooks import WebhookVerificationError

from jobs.deliveries import Deliveries, Delivery, Verdict
from jobs.job import Outcome, Reason, Status
from jobs.ledger import Ledger
from jobs.sender import FIRST_WAIT_MS, LONGEST_WAIT_MS, Sender, wait_ms
from jobs.webhook import Told
from jobs.webhook_secrets import WebhookSecrets
from llava_jobs.embedded import EmbeddedStore
from tests.eventually import PATIENCE_S, eventually
from tests.ledgers import ANSWER, FAILURE, Clock, claimed, submitted, webhook
from tests.receivers import (
    Behaviour,
    Names,
    Received,
    Receiver,
    drips,
    hangs,
    outbound,
    resets,
    says,
    status,
)

DAY = 24 * 3_600_000


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that answers 200."""
    running = Receiver()
    yield running
    running.close()


@pytest.fixture
def deliveries(client: Any) -> Deliveries:
    """The deliveries of the store, by its own clock."""
    return Deliveries(client)


@pytest.fixture
def secret(client: Any) -> str:
    """The secret of the tenant whose jobs end."""
    return WebhookSecrets(client).create("acme")


@pytest.fixture
def books(client: Any) -> Ledger:
    """The ledger by the store's own clock: a judge of signatures looks at the real one."""
    return Ledger(client)


def sender(client: Any, clock: Clock | None = None, **options: Any) -> Sender:
    """A sender that reaches loopback alone."""
    rules = {name: options.pop(name) for name in ("timeout_s",) if name in options}
    names = options.pop("names", None)
    if clock:
        options["clock"] = lambda: clock.now / 1000
    return Sender(
        Deliveries(client, clock), WebhookSecrets(client), outbound(names, **rules), **options
    )


def ended(ledger: Ledger, url: str, outcome: Outcome = ANSWER, **fields: Any) -> str:
    """Have a job end whose receiver is at a URL, and return its id."""
    job_id = submitted(ledger, webhook=webhook(url), **fields)
    assert ledger.finish(claimed(ledger), outcome)
    return job_id


def attempted(sending: Sender) -> list[Verdict]:
    """What came of each delivery that is due."""
    return [sending.attempt(delivery) for delivery in sending.due()]


def told(client: Any, job_id: str) -> Delivery:
    """The delivery of a job as it stands."""
    found = Deliveries(client).of("acme", job_id)
    assert found
    return found[0]


def test_a_receiver_is_told_little_and_can_verify_it(
    client: Any, books: Ledger, secret: str, receiver: Receiver
) -> None:
    job_id = ended(
        books,
        receiver.url(),
        group="ticket-1",
        metadata={"名": "E42"},
    )
    assert attempted(sender(client, link="https://jobs.example.com")) == [Verdict.DELIVERED]
    [received] = receiver.received
    body = Judge(secret).verify(received.body, received.headers)
    assert body == {
        "id": job_id,
        "status": "succeeded",
        "group": "ticket-1",
        "metadata": {"名": "E42"},
        "link": f"https://jobs.example.com/v1/jobs/{job_id}",
    }
    assert received.line == "POST /hook HTTP/1.1"
    assert received.headers["content-type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        Judge(secret).verify(received.body.replace(b"succeeded", b"failed"), received.headers)
    with pytest.raises(WebhookVerificationError):
        Judge("whsec_" + "A" * 44).verify(received.body, received.headers)


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome(Status.FAILED, Reason.ERROR, error=FAILURE), "failed"),
        (Outcome(Status.CANCELED, Reason.CANCELED), "canceled"),
    ],
)
def test_other_ends_are_told_as_well(
    client: Any, books: Ledger, secret: str, receiver: Receiver, outcome: Outcome, status: str
) -> None:
    job_id = ended(books, receiver.url(), outcome)
    attempted(sender(client))
    told = json.loads(receiver.received[0].body)
    assert (told["status"], told["link"]) == (status, f"/v1/jobs/{job_id}")


def test_while_a_secret_is_rotated_a_receiver_may_use_either(
    client: Any, books: Ledger, secret: str, receiver: Receiver
) -> None:
    second = WebhookSecrets(client).rotate("acme")
    ended(books, receiver.url())
    attempted(sender(client))
    [received] = receiver.received
    for known in (secret, second):
        Judge(known).verify(received.body, received.headers)
    third = WebhookSecrets(client).rotate("acme")
    ended(books, receiver.url())
    attempted(sender(client))
    received = receiver.received[-1]
    for known in (second, third):
        Judge(known).verify(received.body, received.headers)
    with pytest.raises(WebhookVerificationError):
        Judge(secret).verify(received.body, received.headers)


@pytest.mark.parametrize(
    ("behaviour", "verdict", "status", "error"),
    [
        (status(200), Verdict.DELIVERED, 200, None),
        (status(204), Verdict.DELIVERED, 204, None),
        (status(299), Verdict.DELIVERED, 299, None),
        (status(301, "Location: /there\r\n"), Verdict.RETRY, 301, None),
        (status(302, "Location: http://169.254.169.254/\r\n"), Verdict.RETRY, 302, None),
        (status(304), Verdict.RETRY, 304, None),
        (status(404), Verdict.RETRY, 404, None),
        (status(429), Verdict.RETRY, 429, None),
        (status(500), Verdict.RETRY, 500, None),
        (status(410), Verdict.GONE, 410, None),
        (hangs, Verdict.RETRY, None, "timed_out"),
        (drips(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), Verdict.RETRY, None, "timed_out"),
        (resets, Verdict.RETRY, None, "connection_lost"),
        (says(b"220 mail.example.org ESMTP\r\n"), Verdict.RETRY, None, "not_http"),
        (drips(b"HTTP/1.1 200 OK\r\n\r\n", b"."), Verdict.DELIVERED, 200, None),
    ],
    ids=[
        *("200", "204", "299", "301", "302", "304", "404", "429", "500", "410"),
        *("hang", "drip", "reset", "mail", "endless"),
    ],
)
def test_what_a_receiver_answers_decides(
    client: Any,
    books: Ledger,
    secret: str,
    receiver: Receiver,
    behaviour: Behaviour,
    verdict: Verdict,
    status: int | None,
    error: str | None,
) -> None:
    receiver.behaviour = behaviour
    job_id = ended(books, receiver.url())
    assert attempted(sender(client, timeout_s=0.3)) == [verdict]
    [attempt] = told(client, job_id).attempts
    assert (attempt.status, attempt.error) == (status, error)
    assert receiver.connections == 1, "nothing is followed"
    assert (
        told(client, job_id).status
        is {
            Verdict.DELIVERED: Told.DELIVERED,
            Verdict.RETRY: Told.PENDING,
            Verdict.GONE: Told.DISABLED,
        }[verdict]
    )


def test_a_name_that_comes_to_lead_inside_is_not_followed_there(
    client: Any, clock: Clock, ledger: Ledger, secret: str, receiver: Receiver
) -> None:
    receiver.behaviour = status(500)
    job_id = ended(ledger, receiver.url(host="hook.test"))
    names = Names(hook_test=[["127.0.0.1"], ["169.254.169.254"]])
    sending = sender(client, clock, names=names)
    assert attempted(sending) == [Verdict.RETRY]
    clock.forward(DAY)
    assert attempted(sending) == [Verdict.RETRY]
    assert [a.error for a in told(client, job_id).attempts] == [None, "address_forbidden"]
    assert receiver.connections == 1


def test_without_a_secret_nothing_is_sent_unsigned(
    client: Any, books: Ledger, receiver: Receiver
) -> None:
    job_id = ended(books, receiver.url())
    assert attempted(sender(client)) == [Verdict.RETRY]
    assert told(client, job_id).attempts[0].error == "secret_missing"
    assert receiver.connections == 0


def test_over_days_waits_grow_and_the_id_stays(
    client: Any, clock: Clock, ledger: Ledger, secret: str, receiver: Receiver
) -> None:
    receiver.behaviour = status(503)
    began = clock.now
    job_id = ended(ledger, receiver.url())
    sending = sender(client, clock)
    times = []
    while (delivery := told(client, job_id)).status is Told.PENDING:
        assert delivery.next_at is not None
        clock.now = delivery.next_at
        times.append(clock.now - began)
        assert attempted(sending) == [Verdict.RETRY]
        ledger.sweep()
    assert told(client, job_id).status is Told.FAILED
    assert 2 * DAY < times[-1] <= 3 * DAY
    assert 15 <= len(times) <= 60
    assert len(receiver.received) == len(times)
    ids = {received.headers["webhook-id"] for received in receiver.received}
    assert ids == {told(client, job_id).id}
    stamps = [int(received.headers["webhook-timestamp"]) for received in receiver.received]
    assert stamps == sorted(set(stamps)), "each attempt is signed anew, for its own time"
    for received, stamp in zip(receiver.received, stamps, strict=True):
        moment = datetime.fromtimestamp(stamp, UTC)
        signature = Judge(secret).sign(
            received.headers["webhook-id"], moment, received.body.decode()
        )
        assert received.headers["webhook-signature"] == signature
    assert len({received.body for received in receiver.received}) == 1


def test_a_receiver_that_comes_back_is_told(
    client: Any, clock: Clock, ledger: Ledger, secret: str, receiver: Receiver
) -> None:
    receiver.behaviour = status(500)
    job_id = ended(ledger, receiver.url())
    sending = sender(client, clock)
    for _ in range(5):
        clock.now = told(client, job_id).next_at or clock.now
        attempted(sending)
    receiver.behaviour = status(202)
    clock.now = told(client, job_id).next_at or clock.now
    assert attempted(sending) == [Verdict.DELIVERED]
    assert [a.status for a in told(client, job_id).attempts] == [500] * 5 + [202]


@pytest.mark.parametrize(
    ("code", "header", "at_least", "at_most"),
    [
        (429, "3600", 3_600_000, 3_600_000),
        (503, "3600", 3_600_000, 3_600_000),
        (503, "Fri, 15 Jan 2027 09:00:00 GMT", 3_600_000, 3_600_000),
        (503, "Fri, 15 Jan 2027 07:00:00 GMT", 1_000, 11_000),
        (503, "99999999999999999999", LONGEST_WAIT_MS, LONGEST_WAIT_MS),
        (503, "0", 1_000, 11_000),
        (503, "-5", 1_000, 11_000),
        (503, "soon", 1_000, 11_000),
        (503, "²", 1_000, 11_000),
        (500, "3600", 1_000, 11_000),
    ],
)
def test_a_busy_receiver_may_say_when_it_wants_to_be_told(
    client: Any,
    clock: Clock,
    ledger: Ledger,
    secret: str,
    receiver: Receiver,
    code: int,
    header: str,
    at_least: int,
    at_most: int,
) -> None:
    assert datetime.fromtimestamp(clock.now / 1000, UTC).isoformat().startswith("2027-01-15T08:00")
    receiver.behaviour = status(code, f"Retry-After: {header}\r\n")
    job_id = ended(ledger, receiver.url())
    assert attempted(sender(client, clock)) == [Verdict.RETRY]
    assert at_least <= (told(client, job_id).next_at or 0) - clock.now <= at_most


def test_waits_are_drawn_from_all_that_is_below_a_growing_bound() -> None:
    longest = [wait_ms(tries, lambda: 1.0) for tries in range(1, 30)]
    assert longest[:3] == [
        FIRST_WAIT_MS + 1000,
        4 * FIRST_WAIT_MS + 1000,
        16 * FIRST_WAIT_MS + 1000,
    ]
    assert longest == sorted(longest)
    assert longest[-1] == LONGEST_WAIT_MS + 1000
    assert {wait_ms(tries, lambda: 0.0) for tries in range(1, 30)} == {1000}


@pytest.fixture
def running(client: Any) -> Iterator[Callable[..., Sender]]:
    """Starts senders that end with the test."""
    started: list[tuple[Sender, threading.Thread]] = []

    def start(**options: Any) -> Sender:
        sending = sender(client, **options)
        thread = threading.Thread(target=sending.run)
        thread.start()
        started.append((sending, thread))
        return sending

    yield start
    for sending, thread in started:
        sending.stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_a_receiver_that_hangs_holds_up_neither_another_nor_a_job(
    client: Any,
    books: Ledger,
    secret: str,
    receiver: Receiver,
    running: Callable[..., Sender],
) -> None:
    slow = Receiver()
    free = threading.Event()
    most = 0
    lock = threading.Lock()
    inside: list[Received] = []

    def hold(peer: Any, received: Received) -> None:
        nonlocal most
        with lock:
            inside.append(received)
            most = max(most, len(inside))
        free.wait(PATIENCE_S)
        with lock:
            inside.remove(received)
        status(200)(peer, received)

    slow.behaviour = hold
    names = Names(slow_test=[["127.0.0.1"]])
    running(names=names, slots=6, to_one_host=2)
    for _ in range(12):
        ended(books, slow.url(host="slow.test"))
    eventually(lambda: len(inside) == 2, "the slow one has all that it may have")
    quick = [ended(books, receiver.url()) for _ in range(20)]
    eventually(lambda: len(receiver.received) == 20, "the quick one is told meanwhile")
    free.set()
    eventually(lambda: len(slow.received) == 12, "the slow one is told in the end")
    eventually(
        lambda: all(told(client, job_id).status is Told.DELIVERED for job_id in quick),
        "all is noted",
    )
    assert most == 2
    slow.close()


def test_two_senders_share_and_tell_nothing_twice(
    client: Any, books: Ledger, secret: str, receiver: Receiver, running: Callable[..., Sender]
) -> None:
    running()
    running()
    ids = {ended(books, receiver.url()) for _ in range(40)}
    eventually(
        lambda: all(told(client, job_id).status is Told.DELIVERED for job_id in ids),
        "all is told",
    )
    assert len(receiver.received) == 40
    assert {json.loads(received.body)["id"] for received in receiver.received} == ids


def test_a_sender_that_is_stopped_lets_what_is_under_way_come_to_its_end(
    client: Any, books: Ledger, secret: str, receiver: Receiver
) -> None:
    free = threading.Event()

    def hold(peer: Any, received: Received) -> None:
        free.wait(PATIENCE_S)
        status(200)(peer, received)

    receiver.behaviour = hold
    job_id = ended(books, receiver.url())
    sending = sender(client)
    thread = threading.Thread(target=sending.run)
    thread.start()
    eventually(lambda: receiver.received, "it is being sent")
    sending.stop()
    free.set()
    thread.join(PATIENCE_S)
    assert told(client, job_id).status is Told.DELIVERED


def command(store: EmbeddedStore) -> subprocess.Popen[str]:
    """`llava-jobs deliver`, which may reach loopback."""
    return subprocess.Popen(
        [sys.executable, "-m", "llava_jobs", "deliver"],
        env={
            "LLAVA_JOBS_REDIS_URL": store.url,
            "LLAVA_JOBS_WEBHOOK_NETWORKS": "127.0.0.0/8",
            "LLAVA_JOBS_WEBHOOK_HTTP_HOSTS": "127.0.0.1",
            "PYTHONPATH": ":".join(sys.path),
        },
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_sender_killed_in_the_middle_is_followed_by_another_with_the_same_id(
    client: Any, books: Ledger, secret: str, receiver: Receiver, store: EmbeddedStore
) -> None:
    receiver.behaviour = hangs
    job_id = ended(books, receiver.url())
    with command(store) as process:
        eventually(lambda: receiver.received, "it is being sent")
        process.send_signal(signal.SIGKILL)
    receiver.behaviour = status(200)
    assert attempted(sender(client)) == [], "its lease runs"
    later = Clock()
    later.now = round(time.time() * 1000) + 120_000
    assert attempted(sender(client, later)) == [Verdict.DELIVERED]
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert told(client, job_id).status is Told.DELIVERED


def test_the_command_sends_and_ends_when_it_is_asked_to(
    client: Any, books: Ledger, secret: str, receiver: Receiver, store: EmbeddedStore
) -> None:
    job_id = ended(books, receiver.url())
    with command(store) as process:
        eventually(lambda: told(client, job_id).status is Told.DELIVERED, "it is told")
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert said == ""
    Judge(secret).verify(receiver.received[0].body, receiver.received[0].headers)
