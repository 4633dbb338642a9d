"""A worker's connection to its broker is kombu's, but for what ends a worker there."""

import pytest
from kombu import Connection

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


def test_a_channel_that_is_closed_is_asked_for_nothing_more() -> None:
    channel = HintTransport.Channel.__new__(HintTransport.Channel)
    channel.closed = True
    channel.basic_ack("a hint of before")
    channel.basic_reject("a hint of before")
    assert not channel.do_restore
