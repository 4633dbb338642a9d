"""Callers who are slow, on purpose or not, hold up nobody else, and are cut off after a while."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from api.server.request_buffer import BYTES_PER_S, FIRST_S, HELD_BYTES
from tests.clients.wire import Answered, answer, connected, head, tell
from tests.eventually import PATIENCE_S
from tests.installations import Installation, caller, submit

LONG = 4_000_000
SOME = HELD_BYTES + 1_000


@pytest.fixture
def http(installation: Installation) -> Iterator[httpx.Client]:
    """Somebody who calls as everybody does."""
    with caller(installation.url, installation.key) as client:
        yield client


def post(installation: Installation, length: int) -> bytes:
    """The head of a long request."""
    return head(
        installation,
        "POST /v1/jobs HTTP/1.1",
        "Content-Type: application/json",
        f"Content-Length: {length}",
        "",
    )


def beginnings(installation: Installation) -> dict[str, tuple[bytes, bytes]]:
    """How slow callers begin, and the byte that they then send now and then."""
    unended = head(installation, "GET /v1/jobs HTTP/1.1")
    return {
        "nothing": (b"", b""),
        "a head": (unended + b"X: ", b"y"),
        "headers": (unended, b"X: y\r\n"),
        "a body": (post(installation, LONG), b" "),
        "a long body": (post(installation, LONG) + b" " * SOME, b" "),
        "a stalled body": (post(installation, LONG) + b" " * SOME, b""),
        "chunks": (
            head(
                installation,
                "POST /v1/jobs HTTP/1.1",
                "Content-Type: application/json",
                "Transfer-Encoding: chunked",
                "",
            ),
            b"1\r\n \r\n",
        ),
    }


def drip(installation: Installation, start: bytes, piece: bytes) -> Answered:
    """Begin a request, and go on a byte at a time until it is cut off."""
    with connected(installation) as peer:
        began = time.monotonic()
        peer.sendall(start)
        over = threading.Event()

        def go_on() -> None:
            with contextlib.suppress(OSError):
                while piece and not over.wait(0.2):
                    peer.sendall(piece)

        going = threading.Thread(target=go_on)
        going.start()
        answered = answer(peer, began)
        over.set()
        going.join()
        return answered


def test_each_is_cut_off_after_a_while_and_told_so(installation: Installation) -> None:
    begun = beginnings(installation)
    answers: dict[str, Answered] = {}

    def one(name: str) -> None:
        answers[name] = drip(installation, *begun[name])

    threads = [threading.Thread(target=one, args=(name,)) for name in begun]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.pop("nothing").text == b""
    slowest = FIRST_S + SOME / BYTES_PER_S + PATIENCE_S
    for name, answered in answers.items():
        assert (answered.status, answered.code) == (408, "request_timeout"), name
        assert FIRST_S - 1 < answered.seconds < slowest, name


def test_hundreds_of_them_hold_up_nobody(installation: Installation, http: httpx.Client) -> None:
    with contextlib.ExitStack() as stack:
        peers: list[socket.socket] = []
        for start, _ in list(beginnings(installation).values()) * 70:
            peers.append(stack.enter_context(connected(installation)))
            with contextlib.suppress(TimeoutError):
                peers[-1].settimeout(1)
                peers[-1].sendall(start)
        assert len(peers) == 490
        # Whoever waits for one of them waits until that is cut off; with gunicorn's own worker.
        assert slowest_of(http) < FIRST_S


def slowest_of(http: httpx.Client) -> float:
    """Seconds that a call takes at worst, with a connection of its own each."""
    taken = []
    for _ in range(40):
        began = time.monotonic()
        assert http.get("/v1/jobs?limit=1", headers={"Connection": "close"}).status_code == 200
        taken.append(time.monotonic() - began)
    return max(taken)


def test_those_who_do_not_hang_up_hold_up_nobody(
    installation: Installation, http: httpx.Client
) -> None:
    asked = head(installation, "GET /v1/jobs?limit=1 HTTP/1.1", "Connection: close", "")
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(connected(installation)).sendall(asked)
        assert slowest_of(http) < FIRST_S


def test_a_long_request_that_comes_in_pieces_is_taken(
    installation: Installation, http: httpx.Client, noise: bytes
) -> None:
    assert len(noise) > 4 * HELD_BYTES
    assert submit(http, noise, question="in pieces", max_new_tokens=1)["status"] == "queued"
    request = http.build_request(
        "POST", "/v1/jobs", data={"question": "chunked"}, files={"image": ("a.png", noise)}
    )
    whole = request.read()

    def chunks() -> Iterator[bytes]:
        for at in range(0, len(whole), 100_000):
            yield whole[at : at + 100_000]

    headers = {"Content-Type": request.headers["Content-Type"]}
    assert http.post("/v1/jobs", content=chunks(), headers=headers).status_code == 202


@pytest.mark.parametrize("size", [10, 100, 1_000])
def test_requests_that_follow_each_other_without_a_wait_are_all_answered(
    installation: Installation, size: int
) -> None:
    ask = head(installation, "GET /v1/models HTTP/1.1", "")
    last = head(installation, "GET /v1/models HTTP/1.1", "Connection: close", "")
    whole = ask * 3 + last
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    assert tell(installation, *pieces).statuses == [200] * 4


def test_whoever_waits_to_be_told_to_go_on_is_told(
    installation: Installation, png: Callable[[str], bytes]
) -> None:
    body = png("go on")
    with connected(installation) as peer:
        peer.sendall(
            head(
                installation,
                "POST /v1/jobs HTTP/1.1",
                "Content-Type: application/json",
                f"Content-Length: {len(body)}",
                "Expect: 100-continue",
                "Connection: close",
                "",
            )
        )
        assert peer.recv(100).startswith(b"HTTP/1.1 100 ")
        peer.sendall(body)
        assert answer(peer).status == 202
