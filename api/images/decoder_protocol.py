"""What the image door and its child say to each other: limits, and frames over a socket.

A frame is two lengths, a JSON header and bytes. Nothing is unpickled: a decoder taken over by
crafted pixels can answer nonsense, but not run code in the server.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from dataclasses import dataclass
from io import BytesIO
from typing import Any

LENGTHS = struct.Struct("!II")
MAX_HEADER_BYTES = 4096


@dataclass(frozen=True)
class Limits:
    """What a picture may be, and what decoding it may cost.

    Sides in pixels, memory in bytes of address space, time in seconds of processor.
    """

    max_pixels: int = 50_000_000
    max_side: int = 4096
    min_side: int = 16
    max_aspect: int = 20
    memory_bytes: int = 1536 << 20
    cpu_s: float = 10.0


def send_frame(peer: socket.socket, header: dict[str, Any], body: bytes = b"") -> None:
    """Send a frame; raises OSError, also where the socket's timeout passes."""
    head = json.dumps(header).encode()
    peer.sendall(LENGTHS.pack(len(head), len(body)) + head)
    peer.sendall(body)


def receive_frame(
    peer: socket.socket, max_bytes: int, deadline: float | None = None
) -> tuple[dict[str, Any], bytes]:
    """Return the next frame's header and body, of at most ``max_bytes``.

    ``deadline`` is on the monotonic clock. Raises TimeoutError past it, EOFError where the peer has
    gone, ValueError where a frame is not one, OSError.
    """
    head_size, body_size = LENGTHS.unpack(_receive(peer, LENGTHS.size, deadline))
    if head_size > MAX_HEADER_BYTES or body_size > max_bytes:
        raise ValueError("a frame is longer than agreed")
    header = json.loads(_receive(peer, head_size, deadline))
    return dict(header), _receive(peer, body_size, deadline)


def _receive(peer: socket.socket, size: int, deadline: float | None) -> bytes:
    received, at = BytesIO(bytes(size)), 0
    with received.getbuffer() as view:
        while at < size:
            if deadline is not None:
                peer.settimeout(max(1e-3, deadline - time.monotonic()))
            count = peer.recv_into(view[at:])
            if count == 0:
                raise EOFError
            at += count
    return received.getvalue()  # which copies nothing
