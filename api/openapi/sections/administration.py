"""What operators call: keys, and the limits of tenants."""

from __future__ import annotations

from api.admin.keys import CreateKey, RotateKey, SetLimits
from api.http.queries import KeysQuery, TenantsQuery
from api.openapi.answers import Key, KeyList, NewKey, Tenant, TenantList
from api.openapi.error_codes import at_their_status
from api.openapi.examples import listed
from api.openapi.operation import Answer, Body, Link, Operation, Section
from api.openapi.parameters import named, of_query
from api.openapi.schemas import TENANT

_KEY_ID = named("key_id", "the key", "4f5a6b7c8d9e")
_NAME = named("name", "the tenant", "acme", **TENANT)
_KEY = {
    "id": "4f5a6b7c8d9e",
    "tenant": "acme",
    "scopes": ["read", "submit"],
    "created_at": "2026-11-25T09:00:00.000Z",
    "expires_at": "2027-02-23T09:00:00.000Z",
    "ending": "91c2",
    "previous": None,
}
_NEW_KEY = {**_KEY, "key": "lj_4f5a6b7c8d9e_" + 44 * "0" + "91c2"}
_TENANT = {
    "name": "acme",
    "queued": 12,
    "limits": {
        "queued_jobs": 1000,
        "requests_per_minute": None,
        "retention_seconds": None,
        "image_bytes": None,
    },
}
_LINKS = tuple(
    Link(name, {"key_id": "$response.body#/id"}) for name in ("get_key", "rotate_key", "revoke_key")
)

SECTION = Section(
    "Administration",
    "Keys and limits of all tenants. `llava-jobs keys` and `llava-jobs tenants` do the same in a "
    "terminal, and make the first key with `admin`.",
    (
        Operation(
            "GET /v1/admin/keys",
            "list_keys",
            "List keys",
            detail="By tenant, and by id. Pass `next` as `after` until it is `null`.",
            parameters=of_query(KeysQuery, tenant="acme", after="acme,4f5a6b7c8d9e", limit=100),
            answers=(Answer(200, "without their secrets", KeyList, listed(_KEY)),),
        ),
        Operation(
            "POST /v1/admin/keys",
            "create_key",
            "Make a key",
            body=Body(CreateKey, {"tenant": "acme", "scopes": ["read"], "expires_in": "90d"}),
            answers=(
                Answer(
                    201,
                    "the only time that it can be seen",
                    NewKey,
                    _NEW_KEY,
                    headers=("Location",),
                    links=_LINKS,
                ),
            ),
        ),
        Operation(
            "GET /v1/admin/keys/{key_id}",
            "get_key",
            "Look at a key",
            parameters=(_KEY_ID,),
            answers=(Answer(200, "without its secret", Key, _KEY),),
            errors=at_their_status("key_not_found"),
        ),
        Operation(
            "POST /v1/admin/keys/{key_id}/rotate",
            "rotate_key",
            "Give a key a new secret",
            detail="The secret before works for the overlap, the one before that no more.",
            parameters=(_KEY_ID,),
            body=Body(RotateKey, {"overlap": "24h"}),
            answers=(
                Answer(200, "the new one, seen only here", NewKey, _NEW_KEY, headers=("Location",)),
            ),
            errors=at_their_status("key_not_found"),
        ),
        Operation(
            "DELETE /v1/admin/keys/{key_id}",
            "revoke_key",
            "Revoke a key",
            parameters=(_KEY_ID,),
            answers=(Answer(204, "no secret of it works any more"),),
            errors=at_their_status("key_not_found"),
        ),
        Operation(
            "GET /v1/admin/tenants",
            "list_tenants",
            "List tenants",
            detail="Those with keys or limits, by name. Pass `next` as `after` until it is `null`.",
            parameters=of_query(TenantsQuery, after="acme", limit=100),
            answers=(Answer(200, "the tenants", TenantList, listed(_TENANT)),),
        ),
        Operation(
            "GET /v1/admin/tenants/{name}",
            "get_tenant",
            "Look at a tenant",
            parameters=(_NAME,),
            answers=(Answer(200, "its limits, and how many of its jobs wait", Tenant, _TENANT),),
        ),
        Operation(
            "PUT /v1/admin/tenants/{name}/limits",
            "set_limits",
            "Limit a tenant",
            detail="All limits at once; what is left out is the installation's. They count from "
            "its next request on.",
            parameters=(_NAME,),
            body=Body(SetLimits, {"queued_jobs": 1000}),
            answers=(
                Answer(
                    200,
                    "the tenant",
                    Tenant,
                    _TENANT,
                    links=(Link("get_tenant", {"name": "$response.body#/name"}),),
                ),
            ),
        ),
    ),
)
