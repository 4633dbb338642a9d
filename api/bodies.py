"""Bodies of requests that one API process holds at a time: a budget of bytes, in turn by tenant.

Whoever has no turn yet is not read from, so that its bytes stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from flask import Flask, current_app, g, request

from api.fair_semaphore import Crowded, FairSemaphore
from jobs.errors import BodiesFull, TooManyBodies

FREE_BYTES = 65_536
"""A body that is no longer is never counted: what comes in front of a thread is as long."""
WAITING = 64
WAITING_OF_ONE = 16
"""How many requests may wait to be read, of all and of one tenant; each holds a thread."""
WAIT_S = 8.0
"""How long one waits, which its sender's time is above (``api.arrivals``)."""
RETRY_AFTER_S = 2
_PIECE = 65_536


class Bodies:
    """At most ``most`` bytes of bodies, three quarters of them one tenant's.

    A longer body than that is taken while no other is there.
    """

    def __init__(self, most: int, *, wait_s: float = WAIT_S) -> None:
        self._wait_s = wait_s
        self._bytes = FairSemaphore(
            most, of_one=most * 3 // 4, waiting=WAITING, waiting_of_one=WAITING_OF_ONE
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


def init_app(app: Flask, bodies: Bodies) -> None:
    """Have bodies of requests be read within a budget."""
    app.extensions["bodies"] = bodies
    app.teardown_request(lambda _: let_go())


def hold() -> None:
    """Wait until the request's body may be read; raises TooManyBodies, BodiesFull."""
    most, length = request.max_content_length, request.content_length
    size = length if length is not None else most or 0
    if "let_go_of_body" in g or size <= FREE_BYTES or (most is not None and size > most):
        return
    caller = g.get("caller")
    bodies: Bodies = current_app.extensions["bodies"]
    g.let_go_of_body = bodies.hold(caller.tenant if caller else "", size)


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
    if "let_go_of_body" in g:
        g.let_go_of_body()
