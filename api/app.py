"""The application factory: what an API process is made of."""

from __future__ import annotations

import atexit
from contextlib import ExitStack

import redis
from flask import Flask

from api.admin import keys, operations
from api.console import blueprint
from api.http import auth, body_budget, converters, errors, rate_limits, request_log
from api.http.held_calls import Connections
from api.http.multipart import Request
from api.images import routes as image_routes
from api.images.decoder_pool import ImageDoor
from api.images.download import image_urls
from api.images.ingestion import Pictures
from api.jobs import actions, events, groups
from api.jobs import routes as job_routes
from api.jobs import stream as job_stream
from api.jobs.long_polling import Waiting
from api.jobs.token_subscriptions import Following
from api.monitoring import health, metrics
from api.monitoring.store_metrics import SignalMetrics
from api.openai import batches, chat, files
from api.openai.batch_runner import Feeder
from api.openapi import routes as documentation_routes
from api.services import Services
from api.webhooks import routes as webhook_routes
from api.webhooks.destinations import receivers
from jobs.batches import Batches
from jobs.changes import Changes
from jobs.feed import Feed
from jobs.files import Files
from jobs.groups import Groups
from jobs.hints import Hints, celery_app
from jobs.image_store import ImageStore
from jobs.keys import DEFAULT_TENANT, Keys
from jobs.ledger import Ledger, Limits
from jobs.listing import Listing
from jobs.logs import configure_logs
from jobs.operations import Operations
from jobs.pace import Paces
from jobs.pieces import Pieces
from jobs.rates import Rates
from jobs.settings import Settings
from jobs.signals import Signals
from jobs.store import connect, inspect
from jobs.sweeper import sweeper
from jobs.tenants import Tenants
from jobs.tracing import tracer
from jobs.uploads import Uploads

MAX_FORM_PARTS = 64
MAX_FORM_FIELD_BYTES = 262_144


def create_app(settings: Settings) -> Flask:
    """Return the WSGI application; raises ConfigurationError, StoreUnavailable.

    Its threads, processes and connections end with the process, or when ``running`` among its
    extensions is closed.
    """
    configure_logs()
    app = Flask("api", static_folder="console/static", template_folder="console/templates")
    app.request_class = Request
    app.config.update(
        MAX_CONTENT_LENGTH=settings.max_body_bytes,
        MAX_FORM_PARTS=MAX_FORM_PARTS,
        MAX_FORM_MEMORY_SIZE=MAX_FORM_FIELD_BYTES,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of Flask's default provider
    client = connect(settings.required_redis_url)
    hints = Hints(celery_app(settings.required_redis_url), client)
    parts = app.extensions["services"] = _services(settings, client, hints)
    app.extensions["keys"] = parts.keys
    app.extensions["rates"] = Rates(client, settings.requests_per_minute)
    if settings.bootstrap_key:
        parts.keys.create_first(DEFAULT_TENANT, settings.bootstrap_key.get_secret_value())
    converters.init_app(app)
    own = (
        job_routes,
        job_stream,
        groups,
        events,
        webhook_routes,
        image_routes,
        keys,
        health,
        metrics,
    )
    for routes in (*own, chat, files, batches, actions, operations):
        app.register_blueprint(routes.bp)
    app.register_blueprint(documentation_routes.bp)
    app.extensions["signal_metrics"] = SignalMetrics(
        parts.signals, promises_disk=settings.durability == "disk"
    )
    request_log.init_app(app, metrics.HttpMetrics(), logged=settings.access_log)
    auth.init_app(app)
    rate_limits.init_app(app)
    errors.init_app(app)
    longest = settings.max_body_bytes + body_budget.STEP_BYTES
    body_budget.init_app(app, body_budget.Bodies(settings.body_bytes, longest=longest))
    blueprint.init_app(app, client, settings)

    def heard(job_id: str, word: str, owner: str) -> None:
        parts.waiting.heard(job_id, word, owner)
        parts.following.heard(job_id, word, owner)

    changes = Changes(client, heard)
    sweeping = sweeper(parts.ledger, hints, settings)
    feeder = Feeder(parts)
    for thread in (changes, parts.following, sweeping, feeder):
        thread.start()
    running = app.extensions["running"] = ExitStack()
    for part in (
        *(client, hints, parts.pictures.door, feeder, sweeping, parts.following, changes),
        parts.tracer,
    ):
        running.callback(part.close)
    atexit.register(running.close)
    return app


def _services(settings: Settings, client: redis.Redis, hints: Hints) -> Services:
    durability = inspect(client, settings.durability).durability
    door = ImageDoor(
        processes=settings.image_processes,
        timeout_s=settings.image_timeout_s,
        max_pixels=settings.max_image_pixels,
    )
    connections = Connections(settings.connections, settings.tenant_connections)
    pieces = Pieces(client)
    limits = Limits.from_settings(settings)
    ledger = Ledger(client, limits, durability=durability, hints=hints)
    most = settings.tenant_image_bytes
    uploaded = Uploads(client, ledger.scripts, settings.upload_retention_s * 1000, most)
    kept = ImageStore(client, most_of_tenant=most)
    return Services(
        settings=settings,
        ledger=ledger,
        pictures=Pictures(door, kept, uploaded, image_urls(settings)),
        waiting=Waiting(connections),
        listing=Listing(client),
        groups=Groups(client, ledger.scripts),
        feed=Feed(client),
        keys=Keys(client, durability=durability, replicas=settings.durable_replicas),
        tenants=Tenants(client, durability=durability, replicas=settings.durable_replicas),
        pieces=pieces,
        following=Following(pieces),
        connections=connections,
        paces=Paces(client, ledger),
        receivers=receivers(client, settings, durability),
        files=Files(
            client,
            ledger.scripts,
            life_ms=settings.file_retention_s * 1000,
            most_bytes=settings.max_file_bytes,
            most_of_tenant=settings.tenant_file_bytes,
        ),
        batches=Batches(client, ledger.scripts),
        signals=Signals(client, settings.lease_ms),
        tracer=tracer(settings, "api"),
        operations=Operations.of(client, ledger, settings),
    )
