"""Connections that go to addresses which were checked, and that end in time."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable
from socket import IPPROTO_TCP, getaddrinfo
from typing import Any

import httpcore

from jobs.addresses import parsed
from jobs.reach import Rules, Unreached

_HEADER_BYTES = 64 * 1024

Resolve = Callable[[str], list[str]]
"""Returns the addresses of a host's name; raises OSError where it has none."""


def resolved(host: str) -> list[str]:
    """Return the addresses of a host as the system knows them, the preferred one first."""
    return [str(found[4][0]) for found in getaddrinfo(host, None, proto=IPPROTO_TCP)]


class Guard(httpcore.NetworkBackend):
    """Connects only to addresses that it has checked; all it does ends after ``timeout_s``.

    The system's resolver keeps times of its own: a name may take longer, and then nothing is sent.
    """

    def __init__(self, rules: Rules, resolve: Resolve, network: httpcore.NetworkBackend) -> None:
        self._rules = rules
        self._resolve = resolve
        self._network = network
        self._deadline = time.monotonic() + rules.timeout_s

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first of a host's addresses that takes the connection."""
        for address in self._addresses(host):
            try:
                stream = self._network.connect_tcp(
                    address, port, _left(self._deadline, timeout), local_address, socket_options
                )
            except httpcore.ConnectError:
                continue
            return _Bounded(stream, self._deadline, self._rules.max_bytes + _HEADER_BYTES)
        raise Unreached("not_connected")

    def _addresses(self, host: str) -> list[str]:
        try:
            found = [host] if parsed(host) else list(dict.fromkeys(self._resolve(host)))
        except (OSError, UnicodeError):
            found = []
        if not found:
            raise Unreached("name_unknown")
        for text in found:
            address = parsed(text)
            if address is None or not self._rules.permit(address):
                raise Unreached("address_forbidden")
        return found


class _Bounded(httpcore.NetworkStream):
    """A connection that ends at a deadline, whatever trickles in, and after so many bytes read."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float, most_bytes: int) -> None:
        self._stream = stream
        self._deadline = deadline
        self._bytes_left = most_bytes

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what has come."""
        data = self._stream.read(max_bytes, _left(self._deadline, timeout))
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise Unreached("too_many_bytes")
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all of a buffer."""
        self._stream.write(buffer, _left(self._deadline, timeout))

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        """Speak TLS from now on, with the host that the URL names."""
        left = _left(self._deadline, timeout)
        try:
            stream = self._stream.start_tls(ssl_context, server_hostname, left)
        except httpcore.ConnectError:
            raise Unreached("tls_failed") from None
        return _Bounded(stream, self._deadline, self._bytes_left)

    def get_extra_info(self, info: str) -> Any:
        """Return what the connection knows of itself."""
        return self._stream.get_extra_info(info)


def _left(deadline: float, timeout: float | None) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise Unreached("timed_out")
    return left if timeout is None else min(left, timeout)
