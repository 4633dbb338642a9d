"""Bodies of requests that one API process holds at a time: a budget of bytes, in turn by tenant.

Whoever has no turn yet is not read from, so that its bytes stay where they are.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from io import RawIOBase
from typing import IO

from flask import Flask, current_app, g, request
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout

from api.http.fair_semaphore import Crowded, FairSemaphore
from jobs.errors import BodiesFull, TooManyBodies

FREE_BYTES = 65_536
"""A body that is no longer is never counted: what comes in front of a thread is as long."""
WAITING = 64
WAITING_OF_ONE = 16
"""How many requests may wait to be read, of all and of one tenant; each holds a thread."""
WAIT_S = 8.0
"""How long one waits, which its sender's time is above (``api.server.request_buffer``)."""
RETRY_AFTER_S = 2
STEP_BYTES = 1 << 20
"""How much more is held at a time of a body whose length is not told."""
SLOW_S = 10.0
SLOW_BYTES_PER_S = 262_144
"""While others wait, whoever holds room has so many seconds, and more as its bytes come so fast."""
_PIECE = 65_536


class Bodies:
    """At most ``most`` bytes of bodies, three quarters of them one tenant's, or its ``longest``.

    A longer body than that is taken while no other is there.
    """

    def __init__(self, most: int, *, longest: int = 0, wait_s: float = WAIT_S) -> None:
        self._wait_s = wait_s
        of_one = max(most * 3 // 4, longest)
        self._bytes = FairSemaphore(
            max(most, of_one), of_one=of_one, waiting=WAITING, waiting_of_one=WAITING_OF_ONE
        )

    def hold(self, tenant: str, size: int) -> Callable[[], None]:
        """Wait for room for a body of a tenant's, until the function that is returned is called.

        Raises TooManyBodies where the tenant's own take all of its share, BodiesFull.
        """
        try:
            self._bytes.acquire(tenant, size, timeout_s=self._wait_s)
        except Crowded as crowded:
            if crowded.own:
                raise TooManyBodies(
                    "as many bytes of your requests are being read as may be; send fewer at a time",
                    retry_after=RETRY_AFTER_S,
                ) from None
            raise BodiesFull(
                "too many bytes of requests are being read; try again", retry_after=RETRY_AFTER_S
            ) from None
        return cache(lambda: self._bytes.release(tenant, size))

    @property
    def are_awaited(self) -> bool:
        """Whether anybody waits for room."""
        return self._bytes.waiting > 0


def init_app(app: Flask, bodies: Bodies) -> None:
    """Have bodies of requests be read within a budget."""
    app.extensions["bodies"] = bodies
    app.teardown_request(lambda _: let_go())


def hold() -> None:
    """Wait until the request's body may be read, and have it be read within the budget.

    One whose length is not told is counted as it comes. Nobody without a key sends a long one.
    Raises TooManyBodies, BodiesFull, RequestEntityTooLarge.
    """
    most, length = request.max_content_length, request.content_length
    if "body" in g or (length or 0) > (most or math.inf):
        return
    if "caller" not in g:
        if length is None or length > FREE_BYTES:
            raise RequestEntityTooLarge
        return
    g.body = _Counted(request.stream, current_app.extensions["bodies"], g.caller.tenant)
    g.body.expect(length or 0)
    request.stream = g.body


def read() -> bytearray:
    """Return the request's body, of which nothing else is held.

    Raises TooManyBodies, BodiesFull; RequestEntityTooLarge where it is too long.
    """
    hold()
    body = bytearray()
    while len(body) != request.content_length and (piece := request.stream.read(_PIECE)):
        body += piece
    return body


def let_go() -> None:
    """Say that nothing of the request's body is needed any longer."""
    if "body" in g:
        g.body.let_go()


class _Counted(RawIOBase):
    """A body that is read as far as there is room for it."""

    def __init__(self, stream: IO[bytes], bodies: Bodies, tenant: str) -> None:
        super().__init__()
        self._stream = stream
        self._bodies = bodies
        self._tenant = tenant
        self._count = 0
        self._room = FREE_BYTES
        self._held = ExitStack()
        self._began = time.monotonic()

    def expect(self, size: int) -> None:
        """Wait for room for so many bytes in all; raises TooManyBodies, BodiesFull."""
        if size > self._room:
            self._held.callback(self._bodies.hold(self._tenant, size - self._room))
            self._room = size
            self._began = time.monotonic()

    def let_go(self) -> None:
        """Give back all room."""
        self._held.close()

    def read(self, size: int = -1) -> bytes:
        """Return more of it; raises RequestTimeout where others wait and it comes too slowly."""
        spent = time.monotonic() - self._began
        if self._bodies.are_awaited and spent > SLOW_S + self._count / SLOW_BYTES_PER_S:
            raise RequestTimeout
        data = self._stream.read(size)
        self._count += len(data)
        if self._count > self._room:
            self.expect(self._count + STEP_BYTES)
        return data

    def readable(self) -> bool:
        """Whether it can be read."""
        return True
