"""The operator's routes: keys, and the limits of tenants. They need the scope ``admin``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Blueprint, Response, request
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from api.http.queries import KeysQuery, TenantsQuery, read_query
from api.http.responses import private
from api.jobs.request import Duration, Fields, read_json
from api.jobs.response import moment
from api.services import services
from jobs.durations import milliseconds
from jobs.errors import InvalidRequest, NotFound
from jobs.keys import LONGEST_S, Key, Scope
from jobs.tenants import MOST_BYTES, Tenant, TenantLimits, is_name

bp = Blueprint("admin", __name__, url_prefix="/v1/admin")


def names_a_tenant(text: str) -> str:
    """Return a text that can be a tenant's name; else pydantic's caller is told what can."""
    if not is_name(text):
        raise PydanticCustomError("name", "up to 64 letters, digits, '.', '_' and '-'")
    return text


class CreateKey(Fields):
    """The body of ``POST /v1/admin/keys``."""

    tenant: Annotated[str, AfterValidator(names_a_tenant)]
    scopes: list[Literal["submit", "read", "admin"]] = Field(["submit", "read"], min_length=1)
    expires_in: Duration | None = None


class RotateKey(Fields):
    """The body of ``POST /v1/admin/keys/<id>/rotate``; ``overlap`` null: none."""

    overlap: Duration | None = "24h"


class SetLimits(Fields):
    """The body of ``PUT /v1/admin/tenants/<name>/limits``; null: the installation's."""

    queued_jobs: int | None = Field(default=None, ge=0, le=10**9)
    requests_per_minute: int | None = Field(default=None, ge=1, le=10**6)
    retention_seconds: int | None = Field(default=None, ge=1, le=LONGEST_S)
    image_bytes: int | None = Field(default=None, ge=0, le=MOST_BYTES)


@bp.get("/keys")
def list_keys() -> Response:
    """List keys by tenant, without their secrets."""
    query = read_query(KeysQuery, request.args)
    keys, after = services().keys.page(tenant=query.tenant, after=query.after, limit=query.limit)
    return private({"object": "list", "data": [_key(key) for key in keys], "next": after})


@bp.post("/keys")
def create_key() -> Response:
    """Make a key: 201, and the only time that it can be seen."""
    body = read_json(CreateKey, request)
    secret = services().keys.create(
        body.tenant,
        scopes=[Scope(name) for name in body.scopes],
        expires_in_s=_seconds(body.expires_in, "expires_in") if body.expires_in else None,
    )
    return _shown_once(secret, 201)


@bp.get("/keys/<key_id>")
def get_key(key_id: str) -> Response:
    """Show a key without its secret."""
    return private(_key(services().keys.get(key_id)))


@bp.post("/keys/<key_id>/rotate")
def rotate_key(key_id: str) -> Response:
    """Give a key a new secret, shown only here; the one before works for a while."""
    body = read_json(RotateKey, request)
    overlap_s = _seconds(body.overlap, "overlap") if body.overlap else 0
    return _shown_once(services().keys.rotate(key_id, overlap_s), 200)


@bp.delete("/keys/<key_id>")
def revoke_key(key_id: str) -> Response:
    """Make a key unknown at once."""
    services().keys.revoke(key_id)
    return Response(status=204)


@bp.get("/tenants")
def list_tenants() -> Response:
    """List the tenants that have keys or limits, by name."""
    query = read_query(TenantsQuery, request.args)
    tenants, has_more = services().tenants.page(after=query.after, limit=query.limit)
    after = tenants[-1].name if has_more else None
    return private({"object": "list", "data": [_shown(one) for one in tenants], "next": after})


@bp.get("/tenants/<name>")
def get_tenant(name: str) -> Response:
    """Show a tenant's limits, and how many of its jobs wait."""
    return private(_tenant(_named(name)))


@bp.put("/tenants/<name>/limits")
def set_limits(name: str) -> Response:
    """Set all of a tenant's own limits at once."""
    tenant, body = _named(name), read_json(SetLimits, request)
    limits = TenantLimits(
        body.queued_jobs, body.requests_per_minute, body.retention_seconds, body.image_bytes
    )
    services().tenants.set_limits(tenant, limits)
    return private(_tenant(tenant))


def _shown_once(secret: str, status: int) -> Response:
    key = services().keys.get(secret.split("_")[1])
    response = private({**_key(key), "key": secret}, status)
    response.headers["Location"] = f"/v1/admin/keys/{key.id}"
    return response


def _key(key: Key) -> dict[str, Any]:
    previous = None
    if key.previous_until is not None:
        previous = {"ending": key.previous_ending, "works_until": _at(key.previous_until)}
    return {
        "id": key.id,
        "tenant": key.tenant,
        "scopes": sorted(key.scopes),
        "created_at": _at(key.created),
        "expires_at": _at(key.expires),
        "ending": key.ending,
        "previous": previous,
    }


def _tenant(name: str) -> dict[str, Any]:
    tenants = services().tenants
    return _shown(Tenant(name, tenants.queued(name), tenants.limits(name)))


def _shown(tenant: Tenant) -> dict[str, Any]:
    own = tenant.limits
    return {
        "name": tenant.name,
        "queued": tenant.queued,
        "limits": {
            "queued_jobs": own.queued_jobs,
            "requests_per_minute": own.requests_per_minute,
            "retention_seconds": own.retention_s,
            "image_bytes": own.image_bytes,
        },
    }


def _named(name: str) -> str:
    if not is_name(name):
        raise NotFound("no tenant can have this name")
    return name


def _seconds(duration: str, param: str) -> int:
    seconds = milliseconds(duration) // 1000
    if not 1 <= seconds <= LONGEST_S:
        raise InvalidRequest(
            f"{param} is from 1s to {LONGEST_S // 86_400}d", code="invalid_field", param=param
        )
    return seconds


def _at(epoch_s: int | None) -> str | None:
    return None if epoch_s is None else moment(epoch_s * 1000)
