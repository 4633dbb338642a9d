"""What the routes of one process work with."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app

from api.http.held_calls import Connections
from api.images.ingestion import Pictures
from api.jobs.long_polling import Waiting
from api.jobs.token_subscriptions import Following
from api.webhooks.destinations import Receivers
from jobs.batches import Batches
from jobs.feed import Feed
from jobs.files import Files
from jobs.groups import Groups
from jobs.keys import Keys
from jobs.ledger import Ledger
from jobs.listing import Listing
from jobs.operations import Operations
from jobs.pace import Paces
from jobs.pieces import Pieces
from jobs.settings import Settings
from jobs.signals import Signals
from jobs.tenants import Tenants
from jobs.tracing import Tracer


@dataclass(frozen=True)
class Services:
    """What the routes work with; one of it per process, in ``app.extensions``."""

    settings: Settings
    ledger: Ledger
    pictures: Pictures
    waiting: Waiting
    listing: Listing
    groups: Groups
    feed: Feed
    keys: Keys
    tenants: Tenants
    pieces: Pieces
    following: Following
    connections: Connections
    paces: Paces
    receivers: Receivers
    files: Files
    batches: Batches
    signals: Signals
    operations: Operations
    tracer: Tracer


def services() -> Services:
    """Return what the routes of the current application work with."""
    found: Services = current_app.extensions["services"]
    return found
