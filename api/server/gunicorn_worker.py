"""gunicorn's threaded worker, made so that slow callers wait at its door and not in its threads.

As it comes, a connection that sends nothing holds a thread for 5 seconds, one that sends a byte now
and then for ever, and one that its caller does not close the whole process for 2 seconds. Here the
main thread takes requests in, and sees callers off, on the poller that it has anyway.
"""

from __future__ import annotations

import selectors
import socket
import struct
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from http import HTTPStatus
from typing import Any

from gunicorn.http.errors import (
    ExpectationFailed,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
)
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import ThreadWorker
from structlog.contextvars import clear_contextvars

from api.http import errors
from api.server.request_buffer import Arrival, Stage
from jobs.errors import ConnectionsFull, JobsError

SEND_S = 60
"""How long an answer may find no room in its caller's window."""
LINGER_S = 2.0
LINGER_BYTES = 16 << 20
"""How long, and for how much more, a caller is listened to that has been answered for good.

A caller such as nginx looks for an answer only when it can send no more for a moment. Closed before
that, it would see a reset in the answer's place.
"""
_LOOK_S = 1.0
_SEND_TIMEOUT = struct.pack("ll", SEND_S, 0)
_PIECE = 65_536
_FAULTS = {LimitRequestLine: 414, LimitRequestHeaders: 431, ExpectationFailed: 417}


class Reception(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """A worker whose threads are given requests that are there.

    Bodies longer than ``HELD_BYTES`` are read by at most half of the threads, under a clock, so
    that others are always left for what can be answered at once. Where gunicorn itself speaks TLS,
    it takes requests in as it always does.
    """

    alive: bool

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._arriving: dict[Any, Arrival] = {}
        self._waiting: dict[Any, Arrival] = {}
        self._leaving: dict[Any, Arrival] = {}
        self._places = max(1, self.cfg.threads // 2)
        self._looked = 0.0

    def enqueue_req(self, conn: Any) -> None:
        """Take in the next request of a connection, from the main thread."""
        if self.cfg.is_ssl:
            super().enqueue_req(conn)
            return
        held = conn.parser.unreader.take_buffered() if conn.parser else b""
        conn.arrival = Arrival(held, self.wsgi.config["MAX_CONTENT_LENGTH"])
        self._arriving[conn] = conn.arrival
        conn.sock.setblocking(False)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._receive, conn))
        self._receive(conn)

    def handle(self, conn: Any) -> Any:
        """Answer a request, in a thread of its own."""
        # The thread had others before it, and this one may not even be readable.
        clear_contextvars()
        if not self.cfg.is_ssl:
            conn.data_ready = True
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SEND_TIMEOUT)
            conn.init()
            conn.parser.unreader = _Clocked(
                conn.sock, conn.arrival, partial(self.method_queue.defer, self._release)
            )
            conn.parser.unreader.unread(conn.arrival.give())
        return super().handle(conn)

    def _keepalive_after(self, conn: Any, keepalive: bool) -> bool:
        """Whether the connection can be used again; nobody waits for a body that was refused."""
        is_short = not self.cfg.is_ssl and conn.arrival.is_short
        return not is_short and bool(super()._keepalive_after(conn, keepalive))

    def finish_request(self, conn: Any, fs: Future[Any]) -> None:
        """Keep a connection for its next request, or see its caller off."""
        if self.cfg.is_ssl:
            super().finish_request(conn, fs)
            return
        self._release(conn.arrival)
        if not fs.cancelled() and not fs.exception() and fs.result():
            super().finish_request(conn, fs)
        else:
            self._see_off(conn)

    def is_parent_alive(self) -> bool:
        """Whether there is a parent still; without one, callers are let go as on SIGTERM."""
        if not super().is_parent_alive():
            self.alive = False
        return self.alive

    def murder_pending(self) -> None:
        """Cut off whoever has taken too long; called after all that happens, so not all is seen."""
        super().murder_pending()
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        for conn, arrival in list(self._arriving.items()):
            is_idle = arrival.count == 0
            if arrival.left_s <= 0 or (is_idle and not self.alive and arrival.age_s > LINGER_S):
                self._forget(self._arriving, conn)
                self._close(conn) if is_idle else self._refuse(conn, _too_slow())
        for conn, arrival in list(self._waiting.items()):
            if arrival.left_s <= 0:
                del self._waiting[conn]
                self._refuse(conn, _too_many())
        for conn, rest in list(self._leaving.items()):
            if rest.age_s > LINGER_S:
                self._forget(self._leaving, conn)
                self._close(conn)

    def handle_error(self, req: Any, client: Any, _addr: Any, exc: Exception) -> None:
        """Answer what gunicorn cannot read, and log none of it: it may hold a key."""
        if not isinstance(exc, ParseException):
            self.log.error("a request broke: %s", type(exc).__name__)
            error = JobsError("an unexpected error; try again, and tell us if it stays")
        else:
            self.log.info("a request that cannot be read: %s", type(exc).__name__)
            error = _fault(_FAULTS.get(type(exc), 400))
        try:
            client.setblocking(False)
            client.send(_written(error, getattr(req, "path", None) or "/"))
        except OSError:
            self.log.debug("whoever sent it has gone")

    def _receive(self, conn: Any, _: Any = None) -> None:
        arrival, ended = self._arriving[conn], False
        try:
            data = conn.sock.recv(_PIECE)
            ended = not data
            arrival.take(data)
        except BlockingIOError:
            pass
        except OSError:
            ended = True
        stage = arrival.stage
        if stage is Stage.COMING and not ended:
            return
        self._forget(self._arriving, conn)
        if ended and not arrival.count:
            self._close(conn)
        elif stage is Stage.OVERLONG:
            self._refuse(conn, _fault(431))
        elif stage is Stage.LONG and not self._places:
            self._waiting[conn] = arrival
        else:
            self._hand_over(conn, takes_place=stage is Stage.LONG)

    def _hand_over(self, conn: Any, *, takes_place: bool) -> None:
        conn.arrival.has_place = takes_place
        self._places -= takes_place
        super().enqueue_req(conn)

    def _release(self, arrival: Arrival) -> None:
        self._places += arrival.has_place
        arrival.has_place = False
        while self._places and self._waiting:
            conn = next(iter(self._waiting))
            del self._waiting[conn]
            self._hand_over(conn, takes_place=True)

    def _refuse(self, conn: Any, error: JobsError) -> None:
        try:
            conn.sock.send(_written(error, "/"))
        except OSError:
            self._close(conn)
        else:
            self._see_off(conn)

    def _see_off(self, conn: Any) -> None:
        """Close when the caller has, or soon: at once would take back what it has not read yet."""
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._drain, conn))
        except (OSError, ValueError):
            self._close(conn)
        else:
            self._leaving[conn] = Arrival(b"")

    def _drain(self, conn: Any, _: Any = None) -> None:
        try:
            size = len(conn.sock.recv(_PIECE))
            self._leaving[conn].read_on(size)
            if size and self._leaving[conn].count < LINGER_BYTES:
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._forget(self._leaving, conn)
        self._close(conn)

    def _forget(self, group: dict[Any, Any], conn: Any) -> None:
        del group[conn]
        self.poller.unregister(conn.sock)

    def _close(self, conn: Any) -> None:
        self.nr_conns -= 1
        conn.close()


class _Clocked(SocketUnreader):  # type: ignore[misc]  # gunicorn has no types
    """Reads the rest of a request for as long as its sender is quick enough."""

    def __init__(
        self, sock: socket.socket, arrival: Arrival, when_whole: Callable[[Arrival], object]
    ) -> None:
        super().__init__(sock)
        self._arrival = arrival
        self._when_whole = when_whole

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Return the next bytes; raises TimeoutError, ConnectionError where they end too early."""
        wanted = self.sock.gettimeout()
        left = max(0.001, self._arrival.left_s)
        self.sock.settimeout(left if wanted is None else min(left, wanted))
        try:
            data: bytes = super().chunk(size_hint)
        finally:
            # The application looks at the socket without waiting, which a timeout would do.
            self.sock.setblocking(True)
        if not data and self._arrival.is_short:
            raise ConnectionError("the request ended before its end")
        self._arrival.read_on(len(data))
        if self._arrival.has_place and self._arrival.is_whole:
            self._when_whole(self._arrival)
        return data


def _fault(status: int) -> JobsError:
    error = JobsError("the request cannot be read", code=errors.CODES.get(status, "http_error"))
    error.status, error.title = status, HTTPStatus(status).phrase
    return error


def _too_slow() -> JobsError:
    error = _fault(408)
    error.message = "the request came too slowly; send it again"
    return error


def _too_many() -> JobsError:
    return ConnectionsFull("too many long requests are coming in; try again", retry_after=5)


def _written(error: JobsError, path: str) -> bytes:
    body = errors.body(error, path)
    head = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}", "Connection: close"]
    head += [f"Content-Type: {errors.MIME}", f"Content-Length: {len(body)}"]
    if error.retry_after is not None:
        head.append(f"Retry-After: {error.retry_after}")
    return "\r\n".join([*head, "", ""]).encode() + body
