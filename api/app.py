"""The application factory: what an API process is made of."""

from __future__ import annotations

import atexit
from contextlib import ExitStack

from flask import Flask

from api import chat, events, health, listing, problems, streaming, views
from api.connections import Connections
from api.following import Following
from api.images import ImageDoor
from api.waiting import Waiting
from jobs.changes import Changes
from jobs.feed import Feed
from jobs.hints import Hints, celery_app
from jobs.image_store import ImageStore
from jobs.keys import DEFAULT_TENANT, Keys
from jobs.ledger import Ledger, Limits
from jobs.listing import Listing
from jobs.logs import configure_logs
from jobs.pieces import Pieces
from jobs.settings import Settings
from jobs.store import connect, inspect
from jobs.sweeper import sweeper

MAX_FORM_PARTS = 64
MAX_FORM_FIELD_BYTES = 262_144


def create_app(settings: Settings) -> Flask:
    """Return the WSGI application; raises ConfigurationError, StoreUnavailable.

    Its threads, processes and connections end with the process, or when ``running`` among its
    extensions is closed.
    """
    configure_logs()
    app = Flask("api")
    app.config.update(
        MAX_CONTENT_LENGTH=settings.max_body_bytes,
        MAX_FORM_PARTS=MAX_FORM_PARTS,
        MAX_FORM_MEMORY_SIZE=MAX_FORM_FIELD_BYTES,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of Flask's default provider
    url = settings.required_redis_url
    client = connect(url)
    server = inspect(client, settings.durability)
    ledger = Ledger(client, Limits.from_settings(settings), durability=server.durability)
    hints = Hints(celery_app(url), client)
    connections = Connections(settings.connections, settings.tenant_connections)
    waiting, pieces = Waiting(connections), Pieces(client)
    following = Following(pieces)
    door = ImageDoor(
        processes=settings.image_processes,
        timeout_s=settings.image_timeout_s,
        max_pixels=settings.max_image_pixels,
    )
    keys = app.extensions["keys"] = Keys(client)
    if settings.bootstrap_key:
        keys.create_first(DEFAULT_TENANT, settings.bootstrap_key.get_secret_value())
    app.extensions["services"] = views.Services(
        settings,
        ledger,
        ImageStore(client),
        door,
        hints,
        waiting,
        Listing(client),
        Feed(client),
        pieces,
        following,
        connections,
    )
    for routes in (views, streaming, chat, listing, events, health):
        app.register_blueprint(routes.bp)
    problems.init_app(app)

    def heard(job_id: str, word: str, owner: str) -> None:
        waiting.heard(job_id, word, owner)
        following.heard(job_id, word, owner)

    changes = Changes(client, heard)
    sweeping = sweeper(client, ledger, hints, settings)
    for thread in (changes, following, sweeping):
        thread.start()
    running = app.extensions["running"] = ExitStack()
    for part in (client, hints, door, sweeping, following, changes):
        running.callback(part.close)
    atexit.register(running.close)
    return app
