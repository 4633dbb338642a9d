"""How gunicorn serves the API: `gunicorn -c python:api.server.gunicorn_conf 'api:create_app()'`."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from werkzeug.middleware.proxy_fix import ProxyFix

from api.allocator import return_blocks
from jobs.logs import formatter

worker_class = "api.server.gunicorn_worker.Reception"
threads = 128  # a caller that waits holds a thread and nothing else
worker_connections = 10_000  # one that is kept alive holds a socket, and no thread
graceful_timeout = 65  # above the longest wait that a caller may ask for
keepalive = 75
control_socket_disable = True  # nobody here speaks to it, and it writes to the home folder
limit_request_field_size = 8190
limit_request_fields = 64
limit_request_line = 8190  # a hundred ids in one query, however they are encoded

_LONG_BYTES = 1 << 20
_COUNTS = "PROMETHEUS_MULTIPROC_DIR"


def on_starting(server: Any) -> None:
    """Have gunicorn log as we do, and each of its processes count requests in a folder of theirs.

    prometheus_client looks for it as it is imported, which no process does before its fork. One
    that the environment names may be that of the server before.
    """
    for handler in server.log.error_log.handlers:
        handler.setFormatter(formatter())
    server.counts = os.environ[_COUNTS] = tempfile.mkdtemp(prefix="llava-jobs-counts-")


def post_fork(server: Any, worker: Any) -> None:
    """Have what a long body took go back to the system with its request."""
    del server, worker
    return_blocks(_LONG_BYTES)


def child_exit(server: Any, worker: Any) -> None:
    """Keep what a process that ended has counted."""
    del server
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:
    """Leave no counts behind."""
    shutil.rmtree(server.counts, ignore_errors=True)


def post_worker_init(worker: Any) -> None:
    """Have streams end when the process is told to: their callers go on elsewhere at once.

    And what comes by a proxy that is trusted (`FORWARDED_ALLOW_IPS`) comes from where that says.
    """
    app, is_trusted = worker.wsgi, trust(worker.cfg.forwarded_allow_ips)
    app.extensions["is_leaving"] = lambda: not worker.alive
    direct = app.wsgi_app
    proxied = ProxyFix(direct, x_for=1, x_proto=0)

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        chosen = proxied if is_trusted(environ["REMOTE_ADDR"]) else direct
        return chosen(environ, start_response)

    app.wsgi_app = answer


def trust(allowed: Sequence[str]) -> Callable[[str], bool]:
    """Return whether a peer's address is that of a trusted proxy.

    ``allowed`` are addresses, networks and ``*`` for all. As for gunicorn,
    a peer on a Unix socket, which has no address, is trusted always.
    """
    networks = [ip_network(text) for text in allowed if text != "*"]

    def is_trusted(address: str) -> bool:
        if "*" in allowed or not address:
            return True
        peer = ip_address(address)
        return any(peer in network for network in networks)

    return is_trusted
