"""The image door: an untrusted upload in, a canonical picture or a stable error out.

Uploads are decoded in child processes (``api.images.decoder_process``); the server itself never
decodes. The children are our own, over a socket, for two reasons. pebble and concurrent.futures
unpickle what a child answers, which hands the server to whoever takes over a decoder, and the
latter gives up its whole pool over one crash. And there and back takes 0.1 ms with 50 kB and 2 ms
with 3 MB, where pebble takes 0.9 and 10 ms.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from api.http.fair_semaphore import Crowded, FairSemaphore
from api.images.decoder import Decoder, NotStarted, OutOfTime
from api.images.decoder_protocol import Limits
from jobs.errors import InvalidRequest

MOST_DECODERS = 4
"""By default, of one API process: each may take as much memory as a large picture does."""
TIMER_FACTOR = 2
"""A decoder's own timer ends it after so many times its time, as the kernel's ticks count it.

These may be far from what was really used, which is known once a process has ended.
"""
WALL_FACTOR = 4
"""On a machine that is busy with other things, decoding may take so many times its time."""
WAITING = 96
WAITING_OF_ONE = 64
"""How many pictures may wait to be decoded, of all and of one tenant; each holds a thread."""
STATUS = {
    "image_empty": 400,
    "image_too_many_bytes": 413,
    "image_unsupported": 415,
    "too_many_uploads": 429,
    "images_busy": 503,
}


class ImageRejected(InvalidRequest):
    """Raised when an upload cannot be taken; its code says why, its message how to cure it.

    Codes: ``image_empty`` (400), ``image_too_many_bytes`` (413), ``image_unsupported`` (415),
    ``image_too_large``, ``image_shape``, ``image_truncated``, ``image_corrupt``, ``image_timeout``
    (all 422) and, for want of a free decoder and not for the picture's sake, ``images_busy`` (503)
    and, where it is the tenant's own pictures that all wait for, ``too_many_uploads`` (429).
    """

    title = "The picture cannot be taken"

    def __init__(self, code: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message, code=code, param="image", retry_after=retry_after)
        self.status = STATUS.get(code, 422)


@dataclass(frozen=True)
class CanonicalImage:
    """A picture as it is stored: RGB, oriented, without metadata, encoded by us.

    ``data`` is WebP without loss or, for a JPEG upload, JPEG (see ``api.images.canonical.encode``);
    ``width`` and ``height`` are in pixels. ``digest`` is the SHA-256 of ``data`` in hex: equal for
    equal pixels out of the same kind of upload (JPEGs: of the same tables), and taken in the
    server, so that a decoder gone wrong cannot answer with the digest of another picture.
    """

    data: bytes
    width: int
    height: int
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", hashlib.sha256(self.data).hexdigest())


class ImageDoor:
    """Turns uploads into canonical pictures in killable children; safe to share among threads.

    ``processes`` uploads are decoded at a time, those of tenants in turn. Where there are several
    processes, one tenant has one fewer, so that its large pictures hold up nobody else's.

    ``timeout_s`` is the processor time of one decoding, ``wall_s`` the time that it may take on a
    busy machine, ``queue_timeout_s`` the wait for its turn; ``memory_bytes`` is one decoder's
    address space. ``program`` is what a child's interpreter runs, and is an argument for the sake
    of tests. Not to be shared over a fork: create one in each server process, and close it.
    """

    def __init__(
        self,
        *,
        processes: int | None = None,
        timeout_s: float = 5.0,
        wall_s: float | None = None,
        queue_timeout_s: float = 10.0,
        waiting_of_one: int = WAITING_OF_ONE,
        memory_bytes: int = 1536 << 20,
        max_bytes: int = 32 << 20,
        max_pixels: int = 50_000_000,
        program: Sequence[str] = ("-m", "api.images.decoder_process"),
    ) -> None:
        processes = processes or min(MOST_DECODERS, _cores())
        self._timeout_s = timeout_s
        self._wall_s = wall_s or timeout_s * WALL_FACTOR
        self._queue_timeout_s = queue_timeout_s
        self._max_bytes = max_bytes
        self._owner = os.getpid()
        self._closed = False
        self._lock = threading.Lock()
        limits = Limits(
            max_pixels=max_pixels, memory_bytes=memory_bytes, cpu_s=timeout_s * TIMER_FACTOR
        )
        self._children = [Decoder(program, limits) for _ in range(processes)]
        self._turns = FairSemaphore(
            processes,
            of_one=max(1, processes - 1),
            waiting=WAITING,
            waiting_of_one=waiting_of_one,
        )
        self._idle: queue.SimpleQueue[Decoder] = queue.SimpleQueue()
        for child in self._children:
            self._idle.put(child)

    def canonical(self, data: bytes, tenant: str = "") -> CanonicalImage:
        """Return the canonical picture of an upload of a tenant's; raises ImageRejected."""
        if os.getpid() != self._owner:
            raise RuntimeError("an ImageDoor was shared over a fork; create one in each process")
        if not data:
            raise ImageRejected("image_empty", "the picture holds no bytes; upload the file itself")
        if len(data) > self._max_bytes:
            raise ImageRejected(
                "image_too_many_bytes",
                f"the picture is larger than {self._max_bytes:,} bytes; make or save it smaller",
            )
        try:
            self._turns.acquire(tenant, timeout_s=self._queue_timeout_s)
        except Crowded as crowded:
            raise (_too_many() if crowded.own else _busy()) from None
        child = self._idle.get()
        try:
            return self._decoded(child, data)
        finally:
            self._idle.put(child)
            self._turns.release(tenant)

    def close(self) -> None:
        """End the children; uploads under way and later ones are rejected as ``images_busy``."""
        with self._lock:
            self._closed = True
            for child in self._children:
                child.end()
        idle = [self._idle.get() for _ in self._children]
        for child in idle:
            child.disconnect()
            self._idle.put(child)

    def _decoded(self, child: Decoder, data: bytes) -> CanonicalImage:
        code = "image_corrupt"
        for _ in range(2):
            try:
                header, body = child.ask(data, self._wall_s)
                if "code" in header:
                    raise ImageRejected(str(header["code"]), str(header["message"]))
                return CanonicalImage(body, int(header["width"]), int(header["height"]))
            except NotStarted:
                self._replace(child)
                raise _busy() from None
            except OutOfTime as ended:
                self._replace(child)
                if ended.spent_s >= self._timeout_s:
                    raise ImageRejected(
                        "image_timeout", "the picture takes too long to decode; make it smaller"
                    ) from None
                code = "images_busy"
                if not ended.early:
                    break
            except (EOFError, OSError):
                # Twice, because a child may also end for a reason that is not this picture.
                self._replace(child)
            except (LookupError, TypeError, ValueError):
                self._replace(child)
                break
        if code == "images_busy":
            raise _busy(retry_after=5)
        raise ImageRejected(code, "the picture broke its decoder; save it anew, as PNG or JPEG")

    def _replace(self, child: Decoder) -> None:
        with self._lock:
            if self._closed:
                raise _busy()
            child.end()
            child.disconnect()
            child.start()


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _busy(retry_after: int = 1) -> ImageRejected:
    return ImageRejected(
        "images_busy", "no image decoder is free just now; try again", retry_after=retry_after
    )


def _too_many() -> ImageRejected:
    return ImageRejected(
        "too_many_uploads",
        "as many of your pictures as may are being decoded; send this one after Retry-After",
        retry_after=1,
    )
