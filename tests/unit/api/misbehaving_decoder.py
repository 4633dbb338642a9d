"""A decoding process whose work obeys an upload that is a word of command, and decodes the rest."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys
import threading

from api.decoding import Canonical, canonicalise
from api.decoding_process import main
from api.decoding_wire import Limits


def obey(data: bytes, limits: Limits) -> Canonical:
    match data:
        case b"hang":
            threading.Event().wait()
        case b"segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case b"exit":
            os._exit(0)
        case b"run out of processor time":
            os.kill(os.getpid(), signal.SIGXCPU)
        case b"take too much memory":
            return Canonical(bytes(limits.memory_bytes), 1, 1)
        case b"talk nonsense":
            os.write(int(sys.argv[1]), b"\xff" * 64)
        case b"open a file":
            return _told(_refused(lambda: open(__file__).close()))
        case b"open a socket":
            return _told(_refused(lambda: socket.socket().close()))
        case b"tell":
            return _told(
                {
                    "environment": sorted(os.environ),
                    "modules": sorted(sys.modules),
                    "memory": resource.getrlimit(resource.RLIMIT_AS)[0],
                    "processor": resource.getrlimit(resource.RLIMIT_CPU)[0],
                    "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
                    "pid": os.getpid(),
                }
            )
    return canonicalise(data, limits)


def _told(answer: object) -> Canonical:
    return Canonical(json.dumps(answer).encode(), 1, 1)


def _refused(action: object) -> str:
    try:
        assert callable(action)
        action()
    except OSError as error:
        return type(error).__name__
    return "allowed"


if __name__ == "__main__":
    main(obey)
