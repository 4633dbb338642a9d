"""A worker's connection to its broker is kombu's, but for what ends a worker there."""

from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Connection, Queue

from jobs.hints import Hints, celery_app, queue_of
from jobs.scripts import PREFIX
from llava_jobs.embedded import EmbeddedStore
from tests.ledgers import MODEL
from worker.broker import HintConnection, HintTransport


@pytest.mark.parametrize(
    "url",
    [
        "redis://:secret@store:6379/3",
        "rediss://:secret@store:6379/0",
        "rediss://:secret@store:6379/0?ssl_cert_reqs=required",
    ],
)
def test_a_url_means_what_it_means_to_kombu_tls_included(url: str) -> None:
    ours, theirs = HintConnection(url), Connection(url)
    assert type(ours.transport) is HintTransport
    assert ours.info() == theirs.info()
    assert ours.ssl == theirs.ssl


@pytest.fixture
def channel(store: EmbeddedStore, client: Any) -> Iterator[Any]:
    """A worker's channel that may take two hints, on a broker that has three."""
    app = celery_app(store.url)
    Hints(app, client).publish(MODEL, 3)
    with HintConnection(store.url, transport_options=app.conf.broker_transport_options) as broker:
        channel = broker.channel()
        channel.basic_qos(prefetch_count=2)
        yield channel
    app.close()


def taken(channel: Any) -> Any:
    """A hint that a worker has taken."""
    queue = Queue(queue_of(MODEL), channel=channel)
    queue.declare()
    message = queue.get()
    assert message is not None
    return message


def waiting(client: Any) -> int:
    """How many hints the broker has."""
    return int(client.llen(f"{PREFIX}broker:{queue_of(MODEL)}"))


def test_hints_in_hand_are_counted_and_nowhere_written_down(channel: Any, client: Any) -> None:
    first, second = taken(channel), taken(channel)
    assert not channel.qos.can_consume()
    first.ack()
    assert channel.qos.can_consume()
    second.reject(requeue=True)
    assert waiting(client) == 1
    assert not [key for key in client.scan_iter(f"{PREFIX}broker:*") if b"unacked" in key]


def test_a_channel_that_is_closed_is_asked_for_nothing_more(channel: Any, client: Any) -> None:
    held, other = taken(channel), taken(channel)
    channel.close()
    held.ack()
    other.reject()
    assert waiting(client) == 1, "nothing is put back"
