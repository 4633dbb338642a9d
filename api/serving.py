"""How gunicorn serves the API: `gunicorn -c python:api.serving 'api:create_app()'`."""

from __future__ import annotations

from typing import Any

worker_class = "api.reception.Reception"
threads = 128  # a caller that waits holds a thread and nothing else
worker_connections = 10_000  # one that is kept alive holds a socket, and no thread
graceful_timeout = 65  # above the longest wait that a caller may ask for
keepalive = 75
control_socket_disable = True  # nobody here speaks to it, and it writes to the home folder
limit_request_field_size = 8190
limit_request_fields = 64
limit_request_line = 8190  # a hundred ids in one query, however they are encoded


def post_worker_init(worker: Any) -> None:
    """Have streams end when the process is told to: their callers go on elsewhere at once."""
    worker.wsgi.extensions["is_leaving"] = lambda: not worker.alive
