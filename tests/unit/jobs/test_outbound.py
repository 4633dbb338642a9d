"""Requests to addresses that callers name reach the public internet, and nothing inside."""

import ssl
import time
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from jobs.outbound import Outbound
from jobs.reach import Rules, Unreached
from tests.receivers import Names, Receiver, drips, hangs, outbound, resets, says, status


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A server that answers 200."""
    running = Receiver()
    yield running
    running.close()


def refusal(client: Outbound, url: str, **options: Any) -> str:
    """The code with which a request is refused."""
    with pytest.raises(Unreached) as raised:
        client.send("POST", url, **options)
    return raised.value.code


def test_what_is_sent_arrives_and_what_is_answered_comes_back(receiver: Receiver) -> None:
    client = outbound(max_bytes=10)
    answer = client.send("POST", receiver.url("/a?b=c"), headers={"X-Y": "z"}, content=b"hello")
    assert (answer.status, answer.body) == (200, b"ok")
    [received] = receiver.received
    assert received.line == "POST /a?b=c HTTP/1.1"
    assert received.body == b"hello"
    assert received.headers["x-y"] == "z"
    assert received.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert received.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1\\@1.1.1.1/",
        "https://1.1.1.1\\.example.org/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://0x7f.1/",
        "https://1.1.1.1./",
        "https://example.org /",
        "https://exa\tmple.org/",
        "https://example.org\r\nX: y/",
        "https://[fe80::1%25eth0]/",
        "https://example.org:0/",
        "https://example.org:99999/",
        "https://example.org:port/",
        "https:///path",
        "https://[::1/",
        "https://１２７.0.0.1/",
        "https://example.org/" + "a" * 2048,
    ],
)
def test_what_can_be_read_in_two_ways_is_no_url(url: str) -> None:
    names = Names()
    assert refusal(outbound(names), url) == "url_invalid"
    assert names.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "ftp://example.org/",
        "file:///etc/passwd",
        "gopher://example.org/",
        "//example.org/",
        "example.org",
        "https://user@example.org/",
        "https://user:password@example.org/",
        "https://127.0.0.1@example.org/",
    ],
)
def test_only_https_is_spoken_and_nobody_is_logged_in(url: str) -> None:
    names = Names()
    assert refusal(outbound(names), url) in {"url_forbidden", "url_invalid"}
    assert names.asked == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "169.254.169.254", "10.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[fd00::1]"]
)
def test_an_address_inside_is_refused_before_anything_is_connected_to(host: str) -> None:
    assert refusal(outbound(networks=()), f"https://{host}/") == "address_forbidden"


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["169.254.169.254"],
        ["64:ff9b::a9fe:a9fe"],
        ["::ffff:127.0.0.1"],
        ["fe80::1%2"],
        ["1.1.1.1", "10.0.0.1"],
    ],
)
def test_a_name_all_of_whose_addresses_must_be_outside(addresses: list[str]) -> None:
    client = outbound(Names(host_test=[addresses]), networks=())
    assert refusal(client, "https://host.test/") == "address_forbidden"


def test_a_name_is_resolved_once_so_that_it_cannot_change_between_check_and_connection(
    receiver: Receiver,
) -> None:
    names = Names(rebinding_test=[["127.0.0.1"], ["169.254.169.254"]])
    client = outbound(names)
    assert client.send("POST", receiver.url(host="rebinding.test")).status == 200
    assert names.asked == ["rebinding.test"]
    assert receiver.received[0].headers["host"] == f"rebinding.test:{receiver.port}"
    assert refusal(client, receiver.url(host="rebinding.test")) == "address_forbidden"
    assert names.asked == ["rebinding.test"] * 2, "the next request resolves it anew"


def test_the_next_address_is_tried_where_one_takes_no_connection(receiver: Receiver) -> None:
    names = Names(two_test=[["127.0.0.99", "127.0.0.1"]])
    assert outbound(names).send("POST", receiver.url(host="two.test")).status == 200


def test_an_unknown_name_and_a_closed_port_are_told_apart(receiver: Receiver) -> None:
    assert refusal(outbound(), "https://nowhere.test/") == "name_unknown"
    receiver.close()
    assert refusal(outbound(), receiver.url()) == "not_connected"


def test_no_proxy_of_the_environment_is_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert outbound().send("POST", receiver.url()).status == 200


@pytest.mark.parametrize("target", ["https://169.254.169.254/latest", "//169.254.169.254/latest"])
def test_where_redirects_are_not_followed_they_are_an_answer_as_any_other(
    receiver: Receiver, target: str
) -> None:
    receiver.behaviour = status(302, f"Location: {target}\r\n")
    assert outbound().send("POST", receiver.url()).status == 302
    assert receiver.connections == 1


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("https://169.254.169.254/latest", "address_forbidden"),
        ("https://inside.test/", "address_forbidden"),
        ("http://elsewhere.org/", "url_forbidden"),
        ("http://127.0.0.1\\@1.1.1.1/", "url_forbidden"),
        ("http://2130706433/", "url_invalid"),
        ("http://[::1/", "url_invalid"),
        ("/again", "too_many_redirects"),
    ],
)
def test_each_redirect_is_held_to_the_rules(receiver: Receiver, target: str, code: str) -> None:
    receiver.behaviour = status(302, f"Location: {target}\r\n")
    names = Names(inside_test=[["10.0.0.1"]])
    assert refusal(outbound(names, redirects=3, max_bytes=9), receiver.url()) == code
    assert receiver.connections == (4 if code == "too_many_redirects" else 1)


def test_a_redirect_within_the_rules_is_followed(receiver: Receiver) -> None:
    def twice(peer: Any, received: Any) -> None:
        moved = status(307, "Location: /there\r\n")
        (says(b"HTTP/1.1 200 OK\r\n\r\npicture") if "there" in received.line else moved)(
            peer, received
        )

    receiver.behaviour = twice
    answer = outbound(redirects=3, max_bytes=99).send("GET", receiver.url())
    assert (answer.status, answer.body) == (200, b"picture")


def test_only_hosts_that_are_listed_are_asked_where_there_is_a_list(receiver: Receiver) -> None:
    names = Names(a_cdn_test=[["127.0.0.1"]], cdn_test=[["127.0.0.1"]])
    client = outbound(names, hosts=("*.cdn.test",))
    assert client.send("GET", receiver.url(host="a.cdn.test")).status == 200
    for host in ("cdn.test", "evilcdn.test", "a.cdn.test.evil.test", "127.0.0.1"):
        assert refusal(client, receiver.url(host=host)) == "url_forbidden"


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (hangs, "timed_out"),
        (drips(HEAD, b"X-Drip: 1\r\n"), "timed_out"),
        (drips(HEAD + b"Content-Length: 9999\r\n\r\n", b"."), "timed_out"),
        (drips(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"), "timed_out"),
        (says(HEAD + b"X: " + b"y" * 200_000 + b"\r\n\r\n"), "too_many_bytes|not_http"),
        (says(HEAD + b"\r\n" + b"y" * 200_000), "too_many_bytes"),
        (resets, "connection_lost"),
        (says(b""), "connection_lost|not_http"),
        (says(b"SSH-2.0-OpenSSH_9.2\r\n"), "not_http"),
        (says(HEAD + b"Content-Length: 10\r\n\r\nshort"), "not_http"),
    ],
    ids=[
        "hang",
        "drip",
        "slow body",
        "hints",
        "headers",
        "oversize",
        "reset",
        "end",
        "ssh",
        "short",
    ],
)
def test_a_server_costs_a_bounded_time_and_memory_whatever_it_does(
    receiver: Receiver, behaviour: Any, code: str
) -> None:
    receiver.behaviour = behaviour
    started = time.monotonic()
    client = outbound(timeout_s=0.3, max_bytes=100_000)
    assert refusal(client, receiver.url()) in code.split("|")
    assert time.monotonic() - started < 60


def test_where_no_body_is_wanted_none_is_waited_for(receiver: Receiver) -> None:
    receiver.behaviour = drips(HEAD + b"\r\n", b".")
    assert outbound(timeout_s=60).send("POST", receiver.url()).status == 200


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Somebody whose certificates the tests trust."""
    return trustme.CA()


@pytest.mark.parametrize(("named", "code"), [("host.test", None), ("other.test", "tls_failed")])
def test_the_certificate_must_be_for_the_name_and_not_for_the_address(
    authority: trustme.CA, named: str, code: str | None
) -> None:
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(named).configure_cert(theirs)
    ours = ssl.create_default_context()
    authority.configure_trust(ours)
    receiver = Receiver(tls=theirs)
    url = receiver.url(host="host.test", scheme="https")
    client = outbound(Names(host_test=[["127.0.0.1"]]), tls=ours)
    if code:
        assert refusal(client, url) == code
    else:
        assert client.send("POST", url).status == 200
    receiver.close()


def test_an_unknown_authority_is_not_trusted(authority: trustme.CA) -> None:
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("host.test").configure_cert(theirs)
    receiver = Receiver(tls=theirs)
    client = outbound(Names(host_test=[["127.0.0.1"]]))
    assert refusal(client, receiver.url(host="host.test", scheme="https")) == "tls_failed"
    receiver.close()


def test_by_default_nothing_but_the_public_internet_is_within_the_rules() -> None:
    assert Rules(timeout_s=1) == Rules(1, 0, 0, None, (), ())
