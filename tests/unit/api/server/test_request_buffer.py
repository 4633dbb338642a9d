"""How far a request has come, and how long its sender may still take."""

import pytest

from api.server.request_buffer import (
    BYTES_PER_S,
    FIRST_S,
    HELD_BYTES,
    MOST_HEAD_BYTES,
    Arrival,
    Stage,
)
from tests.ledgers import Clock

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def post(*headers: str, body: bytes = b"") -> bytes:
    """A request with a body."""
    return "\r\n".join(["POST / HTTP/1.1", *headers, "", ""]).encode() + body


@pytest.mark.parametrize(
    ("received", "stage"),
    [
        (b"", Stage.COMING),
        (b"\x16\x03\x01", Stage.COMING),
        (GET[:-1], Stage.COMING),
        (GET, Stage.WHOLE),
        (GET + GET[:5], Stage.WHOLE),
        (post("Content-Length: 3", body=b"ab"), Stage.COMING),
        (post("Content-Length: 3", body=b"abc"), Stage.WHOLE),
        (post("content-LENGTH:3 ", body=b"abc"), Stage.WHOLE),
        (post("Content-Length: 0"), Stage.WHOLE),
        (post("Content-Length: 99999999", body=b"a" * HELD_BYTES), Stage.LONG),
        (post("Content-Length: 3", "Expect: 100-continue"), Stage.LONG),
        (post("Transfer-Encoding: chunked", body=b"0\r\n\r\n"), Stage.LONG),
        (post("Content-Length: 3", "Content-Length: 3", body=b"abc"), Stage.LONG),
        (post("Content-Length: 3", "Transfer-Encoding: chunked", body=b"abc"), Stage.LONG),
        (post("Content-Length: three", body=b"abc"), Stage.LONG),
        (post("Content-Length: " + "9" * 50, body=b"abc"), Stage.LONG),
        (b"x" * (MOST_HEAD_BYTES + 1), Stage.OVERLONG),
    ],
)
def test_a_thread_is_needed_for_what_is_there_or_longer_than_is_held(
    received: bytes, stage: Stage
) -> None:
    assert Arrival(received).stage is stage
    piecewise = Arrival(b"")
    for byte in received:
        piecewise.take(bytes([byte]))
    assert piecewise.stage is stage
    assert piecewise.give() == received


def test_the_rest_of_a_long_body_makes_it_whole() -> None:
    arrival = Arrival(post("Content-Length: 100000", body=b"a" * HELD_BYTES))
    arrival.read_on(99_999 - HELD_BYTES)
    assert not arrival.is_whole
    arrival.read_on(1)
    assert arrival.is_whole


def test_a_sender_that_is_quick_enough_always_has_time(clock: Clock) -> None:
    arrival = Arrival(b"", clock=lambda: clock.now / 1000)
    assert arrival.left_s == pytest.approx(FIRST_S)
    for _ in range(100):
        clock.forward(1000)
        arrival.read_on(BYTES_PER_S)
        assert arrival.left_s == pytest.approx(FIRST_S)
    clock.forward(round(FIRST_S * 1000) + 1)
    assert arrival.left_s < 0
