"""A decoding process whose work obeys an upload that is a word of command, and decodes the rest."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable

from api.images.canonical import Canonical, canonicalise
from api.images.decoder_process import main
from api.images.decoder_protocol import Limits

_served = 0


def obey(data: bytes, limits: Limits) -> Canonical:
    global _served
    _served += 1
    if data == b"take too much memory":
        return Canonical(bytes(limits.memory_bytes), 1, 1)
    if data.startswith(b"be ended early"):
        if _served > 1 or not data.endswith(b"unless you are fresh"):
            os.kill(os.getpid(), signal.SIGPROF)
        return _told("fresh")
    if data in ENDS:
        ENDS[data]()
    if data in TELLS:
        return _told(TELLS[data]())
    return canonicalise(data, limits)


def _compute_for_ever() -> None:
    while True:
        pass


def _about_itself() -> dict[str, object]:
    return {
        "environment": sorted(os.environ),
        "modules": sorted(sys.modules),
        "memory": resource.getrlimit(resource.RLIMIT_AS)[0],
        "processor": signal.getitimer(signal.ITIMER_PROF)[0],
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "pid": os.getpid(),
    }


def _told(answer: object) -> Canonical:
    return Canonical(json.dumps(answer).encode(), 1, 1)


def _refused(action: object) -> str:
    try:
        assert callable(action)
        action()
    except OSError as error:
        return type(error).__name__
    return "allowed"


ENDS: dict[bytes, Callable[[], object]] = {
    b"hang": lambda: threading.Event().wait(),
    b"segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    b"exit": lambda: os._exit(0),
    b"compute for ever": _compute_for_ever,
    b"talk nonsense": lambda: os.write(int(sys.argv[1]), b"\xff" * 64),
}
TELLS: dict[bytes, Callable[[], object]] = {
    b"open a file": lambda: _refused(lambda: open(__file__).close()),
    b"open a socket": lambda: _refused(lambda: socket.socket().close()),
    b"tell": _about_itself,
}

if __name__ == "__main__":
    main(obey)
