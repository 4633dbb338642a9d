"""Bytes sent to an installation as they are, and what it answers to them."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.eventually import PATIENCE_S
from tests.installations import Installation


@dataclass
class Answered:
    """What was answered until the connection was closed, in how many seconds."""

    text: bytes
    seconds: float
    statuses: list[int] = field(init=False)

    def __post_init__(self) -> None:
        lines = self.text.split(b"HTTP/1.1 ")[1:]
        self.statuses = [int(line[:3]) for line in lines]

    @property
    def status(self) -> int:
        """The status, where one answer came."""
        [status] = self.statuses
        return status

    @property
    def code(self) -> str:
        """The code of a problem."""
        head, _, body = self.text.partition(b"\r\n\r\n")
        assert b"application/problem+json" in head, self.text
        told: dict[str, Any] = json.loads(body)
        assert set(told) == {"type", "title", "status", "detail", "instance", "error"}
        assert told["status"] == self.status
        return str(told["error"]["code"])


@contextlib.contextmanager
def connected(installation: Installation) -> Iterator[socket.socket]:
    """A connection to the API."""
    with socket.create_connection(("127.0.0.1", installation.port), timeout=PATIENCE_S) as peer:
        yield peer


def answer(peer: socket.socket, began: float | None = None) -> Answered:
    """Read until the other side closes."""
    began = began or time.monotonic()
    text = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := peer.recv(65_536):
            text += piece
    return Answered(text, time.monotonic() - began)


def tell(installation: Installation, *pieces: bytes) -> Answered:
    """Send pieces and read what is answered until the other side closes."""
    began = time.monotonic()
    with connected(installation) as peer:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                peer.sendall(piece)
        return answer(peer, began)


def head(installation: Installation, line: str, *headers: str) -> bytes:
    """The head of a request with the installation's key, without its end."""
    own = ("Host: test", f"Authorization: Bearer {installation.key}")
    return "".join(f"{text}\r\n" for text in (line, *own, *headers)).encode()
