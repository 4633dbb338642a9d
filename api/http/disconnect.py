"""Whether whoever called is still there to hear the answer, and this process to give it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any

from flask import current_app, request


def is_leaving() -> Callable[[], bool]:
    """Return what says whether this process has been told to end."""
    found: Callable[[], bool] = current_app.extensions.get("is_leaving", lambda: False)
    return found


def is_over() -> Callable[[], bool]:
    """Return what says whether the call that is under way needs to be held open no longer."""
    environ, leaving = request.environ, is_leaving()
    return lambda: is_gone(environ) or leaving()


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
