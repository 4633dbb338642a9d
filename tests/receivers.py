"""Servers on loopback that behave as receivers and hosts of pictures do, and as they should not."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

import httpcore

from jobs.outbound import Outbound
from jobs.reach import Rules
from tests.eventually import PATIENCE_S

LOOPBACK = (ip_network("127.0.0.0/8"),)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(frozen=True)
class Received:
    """A request as it came: its first line, its headers by small name, its body."""

    line: str
    headers: dict[str, str]
    body: bytes


Behaviour = Callable[[socket.socket, Received], None]


def status(code: int, headers: str = "") -> Behaviour:
    """Answers with a status, and nothing else."""
    return says(f"HTTP/1.1 {code} Said\r\n{headers}Content-Length: 0\r\n\r\n".encode())


def says(answer: bytes) -> Behaviour:
    """Answers with these bytes."""

    def behave(peer: socket.socket, _: Received) -> None:
        peer.sendall(answer)

    return behave


def drips(start: bytes, piece: bytes) -> Behaviour:
    """Answers with a start, and then with a piece every now and then until nobody listens."""

    def behave(peer: socket.socket, _: Received) -> None:
        peer.sendall(start)
        over = threading.Event()
        while not over.wait(0.02):
            peer.sendall(piece)

    return behave


def hangs(peer: socket.socket, _: Received) -> None:
    """Reads, and never answers."""
    peer.recv(1)


def resets(peer: socket.socket, _: Received) -> None:
    """Resets the connection."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


class Receiver:
    """A server of which the behaviour can change, and that keeps what it received."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.behaviour = says(OK)
        self.received: list[Received] = []
        self.connections = 0
        self._tls = tls
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def url(self, path: str = "/hook", host: str = "127.0.0.1", scheme: str = "http") -> str:
        """Where it is."""
        return f"{scheme}://{host}:{self.port}{path}"

    def close(self) -> None:
        """Take no more connections."""
        if self._listening.fileno() >= 0:
            # Closing alone leaves the thread in accept().
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(PATIENCE_S)

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._one, args=(peer,), daemon=True).start()

    def _one(self, peer: socket.socket) -> None:
        with peer:
            peer.settimeout(30)
            try:
                if self._tls:
                    with self._tls.wrap_socket(peer, server_side=True) as spoken:
                        self._answer(spoken)
                else:
                    self._answer(peer)
            except OSError:
                return  # whoever asked has gone

    def _answer(self, peer: socket.socket) -> None:
        with peer.makefile("rb") as file:
            line = file.readline().decode().strip()
            if not line:
                return
            headers: dict[str, str] = {}
            while header := file.readline().decode().strip():
                name, _, value = header.partition(":")
                headers[name.lower()] = value.strip()
            body = file.read(int(headers.get("content-length", 0)))
        received = Received(line, headers, body)
        self.received.append(received)
        self.behaviour(peer, received)


class LoopbackAlone(httpcore.SyncBackend):
    """Connects as always, but fails a test that would connect to anywhere else."""

    def connect_tcp(self, host: str, *arguments: Any, **options: Any) -> httpcore.NetworkStream:
        """Connect to a loopback address."""
        assert ip_address(host).is_loopback, "a test must never leave this machine"
        return super().connect_tcp(host, *arguments, **options)


class Names:
    """A resolver that tells for each name what it is to tell next; the last thing over and over."""

    def __init__(self, **addresses: Iterable[list[str]]) -> None:
        self._told = {name.replace("_", "."): list(told) for name, told in addresses.items()}
        self.asked: list[str] = []

    def __call__(self, host: str) -> list[str]:
        """Resolve a name."""
        self.asked.append(host)
        told = self._told.get(host)
        if not told:
            raise OSError("no such name")
        return told.pop(0) if len(told) > 1 else told[0]


def outbound(
    names: Names | None = None, tls: ssl.SSLContext | None = None, **rules: Any
) -> Outbound:
    """A client that may reach loopback by http, and that cannot reach anything else."""
    permitted = {"timeout_s": 5, "networks": LOOPBACK, "http_hosts": ("127.0.0.1", "*.test")}
    return Outbound(
        Rules(**{**permitted, **rules}), resolve=names or Names(), network=LoopbackAlone(), tls=tls
    )
