"""The image door: an untrusted upload in, a canonical picture or a stable error out.

Uploads are decoded in child processes (``api.decoding_process``); the server itself never decodes.
The children are our own, over a socket, for two reasons. pebble and concurrent.futures unpickle
what a child answers, which hands the server to whoever takes over a decoder, and the latter gives
up its whole pool over one crash. And there and back takes 0.1 ms with 50 kB and 2 ms with 3 MB,
where pebble takes 0.9 and 10 ms.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from api.decoding_wire import Limits, receive_frame, send_frame
from jobs.errors import InvalidRequest

START_TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 128 << 20
KEPT_ENVIRONMENT = ("LD_LIBRARY_PATH", "PYTHONHOME")
STATUS = {
    "image_empty": 400,
    "image_too_many_bytes": 413,
    "image_unsupported": 415,
    "images_busy": 503,
}


class ImageRejected(InvalidRequest):
    """Raised when an upload cannot be taken; its code says why, its message how to cure it.

    Codes: ``image_empty`` (400), ``image_too_many_bytes`` (413), ``image_unsupported`` (415),
    ``image_too_large``, ``image_shape``, ``image_truncated``, ``image_corrupt``, ``image_timeout``
    (all 422) and, for want of a free decoder and not for the picture's sake, ``images_busy`` (503).
    """

    title = "The picture cannot be taken"

    def __init__(self, code: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message, code=code, param="image", retry_after=retry_after)
        self.status = STATUS.get(code, 422)


@dataclass(frozen=True)
class CanonicalImage:
    """A picture as it is stored: RGB, oriented, without metadata, encoded by us.

    ``data`` is WebP without loss or, for a JPEG upload, JPEG (see ``api.decoding.encode``);
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

    ``processes`` uploads are decoded at a time; ``timeout_s`` bounds one decoding,
    ``queue_timeout_s`` the wait for its turn; ``memory_bytes`` is one decoder's address space.
    ``program`` is what a child's interpreter runs, and is an argument for the sake of tests.
    Not to be shared over a fork: create one in each server process, and close it.
    """

    def __init__(
        self,
        *,
        processes: int = 1,
        timeout_s: float = 1.9,
        queue_timeout_s: float = 10.0,
        memory_bytes: int = 1536 << 20,
        max_bytes: int = 32 << 20,
        max_pixels: int = 50_000_000,
        program: Sequence[str] = ("-m", "api.decoding_process"),
    ) -> None:
        self._timeout_s = timeout_s
        self._queue_timeout_s = queue_timeout_s
        self._max_bytes = max_bytes
        self._owner = os.getpid()
        self._closed = False
        self._lock = threading.Lock()
        limits = Limits(
            max_pixels=max_pixels, memory_bytes=memory_bytes, cpu_s=math.ceil(timeout_s) + 1
        )
        self._children = [_Child(program, limits) for _ in range(processes)]
        self._idle: queue.SimpleQueue[_Child] = queue.SimpleQueue()
        for child in self._children:
            self._idle.put(child)

    def canonical(self, data: bytes) -> CanonicalImage:
        """Return the canonical picture of an upload's bytes; raises ImageRejected."""
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
            child = self._idle.get(timeout=self._queue_timeout_s)
        except queue.Empty:
            raise _busy() from None
        try:
            return self._decoded(child, data)
        finally:
            self._idle.put(child)

    def close(self) -> None:
        """End the children; uploads under way and later ones are rejected as ``images_busy``."""
        with self._lock:
            self._closed = True
            for child in self._children:
                child.kill()
        for _ in self._children:
            child = self._idle.get()
            child.disconnect()
            self._idle.put(child)

    def _decoded(self, child: _Child, data: bytes) -> CanonicalImage:
        for _ in range(2):
            try:
                header, body = child.ask(data, self._timeout_s)
                if "code" in header:
                    raise ImageRejected(str(header["code"]), str(header["message"]))
                return CanonicalImage(body, int(header["width"]), int(header["height"]))
            except _NotStartedError:
                self._replace(child)
                raise _busy() from None
            except TimeoutError:
                self._replace(child)
                raise ImageRejected(
                    "image_timeout",
                    "decoding the picture took too long; make it smaller or save it anew",
                ) from None
            except (EOFError, OSError):
                # Twice, because a child may also end for a reason that is not this picture.
                self._replace(child)
            except (LookupError, TypeError, ValueError):
                self._replace(child)
                break
        raise ImageRejected(
            "image_corrupt", "the picture broke its decoder; save it anew, as PNG or JPEG"
        )

    def _replace(self, child: _Child) -> None:
        with self._lock:
            if self._closed:
                raise _busy()
            child.kill()
            child.disconnect()
            child.start()


class _NotStartedError(Exception):
    """Raised when a child's interpreter does not come up, or not in time."""


class _Child:
    """One decoding process, and our end of the socket to it."""

    def __init__(self, program: Sequence[str], limits: Limits) -> None:
        self._program = program
        self._limits = json.dumps(asdict(limits))
        self.start()

    def start(self) -> None:
        """Start the process, and do not wait: it gets ready while the server goes on."""
        self._ready = False
        self._socket, theirs = socket.socketpair()
        with theirs:
            # Not the server's environment, which holds the secrets of its settings.
            environment = {k: os.environ[k] for k in KEPT_ENVIRONMENT if k in os.environ}
            environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, sys.path))
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-P", *self._program, str(theirs.fileno()), self._limits],
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )

    def ask(self, data: bytes, timeout_s: float) -> tuple[dict[str, Any], bytes]:
        """Return the answer to an upload: its header and body.

        Raises TimeoutError; EOFError or OSError where the process has ended; ValueError where the
        answer makes no sense; _NotStartedError.
        """
        self._await_ready()
        deadline = time.monotonic() + timeout_s
        try:
            self._socket.settimeout(timeout_s)
            send_frame(self._socket, {}, data)
            return receive_frame(self._socket, MAX_ANSWER_BYTES, deadline)
        except (EOFError, ConnectionError):
            self.kill()
            if self._process.returncode == -signal.SIGXCPU:
                raise TimeoutError from None
            raise

    def kill(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def disconnect(self) -> None:
        """Close our end of the socket."""
        self._socket.close()

    def _await_ready(self) -> None:
        if self._ready:
            return
        try:
            receive_frame(self._socket, 0, time.monotonic() + START_TIMEOUT_S)
        except (OSError, EOFError, ValueError) as error:
            raise _NotStartedError from error
        self._ready = True


def _busy() -> ImageRejected:
    return ImageRejected(
        "images_busy", "no image decoder is free just now; try again", retry_after=1
    )
