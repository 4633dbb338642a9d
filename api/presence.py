"""Whether whoever called is still there to hear the answer."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any


def is_gone(environ: Mapping[str, Any]) -> bool:
    """Whether the caller of a request hung up; False where the server does not let us look.

    A caller that closes only its sending half counts as gone: no client of HTTP does that.
    """
    connection = environ.get("gunicorn.socket")
    if not isinstance(connection, socket.socket):
        return False
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except (BlockingIOError, InterruptedError):
        return False
    except ValueError:  # TLS ends in this process, and its sockets cannot be peeked at
        return False
    except OSError:
        return True
