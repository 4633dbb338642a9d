"""Webhooks: what was told of a job, telling it again, and the secret that signs it."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request
from pydantic import Field

from api.http.auth import may, tenant
from api.http.responses import private
from api.jobs.request import Fields, read_json
from api.jobs.response import moment
from api.jobs.routes import no_job
from api.services import services
from jobs.deliveries import Delivery
from jobs.errors import NotFound
from jobs.keys import Scope
from jobs.reach import MAX_URL_CHARS

bp = Blueprint("webhooks", __name__, url_prefix="/v1")


class EnableUrl(Fields):
    """The body of ``POST /v1/webhooks/enable``."""

    url: str = Field(min_length=1, max_length=MAX_URL_CHARS)


@bp.get("/jobs/<job_id>/deliveries")
def list_deliveries(job_id: str) -> Response:
    """Show what was told of a job, and what is to be."""
    return _deliveries(tenant(), job_id)


@bp.post("/jobs/<job_id>/deliveries")
def send_again(job_id: str) -> Response:
    """Tell the end of a job again, at once: 202."""
    owner = tenant()
    if not services().receivers.deliveries.send_again(owner, job_id):
        raise no_job()
    return _deliveries(owner, job_id, 202)


@bp.post("/webhooks/secret")
def create_secret() -> Response:
    """Make the tenant's secret: 201, and the only time that it can be seen."""
    return _shown_once(services().receivers.secrets.create(tenant()), 201)


@bp.post("/webhooks/secret/rotate")
def rotate_secret() -> Response:
    """Give the tenant a new secret, shown only here; the one before signs beside it for a day."""
    return _shown_once(services().receivers.secrets.rotate(tenant()), 200)


@bp.post("/webhooks/enable")
def enable_url() -> Response:
    """Send webhooks to a URL again that answered 410: 204."""
    owner = tenant()
    if not services().receivers.deliveries.enable(owner, read_json(EnableUrl, request).url):
        raise NotFound("no such URL of yours is disabled", code="webhook_not_disabled")
    return Response(status=204)


def _deliveries(owner: str, job_id: str, status: int = 200) -> Response:
    found = services().receivers.deliveries.of(owner, job_id)
    if found is None:
        raise no_job()
    data = [_shown(delivery) for delivery in found]
    return private({"object": "list", "data": data, "next": None}, status)


def _shown(delivery: Delivery) -> dict[str, Any]:
    if not may(Scope.READ):
        return {"id": delivery.id, "status": delivery.status}
    return {
        "id": delivery.id,
        "url": delivery.webhook.url.partition("?")[0],
        "status": delivery.status,
        "attempts": [
            {
                "at": moment(attempt.at),
                "status_code": attempt.status,
                "error": attempt.error,
            }
            for attempt in delivery.attempts
        ],
        "next_attempt_at": moment(delivery.next_at),
    }


def _shown_once(secret: str, status: int) -> Response:
    return private({"object": "webhook_secret", "secret": secret}, status)
