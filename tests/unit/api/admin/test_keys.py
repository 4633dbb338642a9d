"""The operator's routes: keys are made, rotated and revoked, and tenants are limited, over HTTP."""

from typing import Any

import pytest
from flask import Flask

from jobs.keys import Keys, Scope
from tests.unit.api.conftest import DATA_URI, Caller, assert_problem


@pytest.fixture
def admin(app: Flask, api: Caller, client: Any) -> Caller:
    """A caller who may administer and nothing else."""
    return Caller(app.test_client(), Keys(client).create("ops", scopes=[Scope.ADMIN]))


def made(admin: Caller, **fields: Any) -> dict[str, Any]:
    """A key that was just made over HTTP."""
    response = admin("POST", "/v1/admin/keys", json={"tenant": "acme", **fields})
    assert response.status_code == 201, response.text
    assert response.headers["Cache-Control"] == "private, no-store"
    key: dict[str, Any] = response.get_json()
    assert response.headers["Location"] == f"/v1/admin/keys/{key['id']}"
    return key


def limits_of(admin: Caller, tenant: str) -> dict[str, Any]:
    """A tenant's own limits."""
    found: dict[str, Any] = admin("GET", f"/v1/admin/tenants/{tenant}").get_json()
    return dict(found["limits"])


def test_a_key_that_was_made_works_and_is_shown_once(app: Flask, admin: Caller) -> None:
    key = made(admin, scopes=["read"], expires_in="1h")
    secret = key.pop("key")
    assert Caller(app.test_client(), secret)("GET", "/v1/models").status_code == 200
    assert admin("GET", f"/v1/admin/keys/{key['id']}").get_json() == key
    listed = admin("GET", "/v1/admin/keys")
    assert key in listed.get_json()["data"]
    assert secret.split("_")[2] not in listed.text
    assert (key["tenant"], key["scopes"], key["ending"]) == ("acme", ["read"], secret[-4:])
    assert key["created_at"] < key["expires_at"]


def test_a_key_submits_and_reads_for_ever_unless_told_otherwise(admin: Caller) -> None:
    key = made(admin)
    assert (key["scopes"], key["expires_at"], key["previous"]) == (["read", "submit"], None, None)


def test_a_rotated_key_has_two_secrets_for_a_while(app: Flask, admin: Caller) -> None:
    old = made(admin)
    response = admin("POST", f"/v1/admin/keys/{old['id']}/rotate", json={"overlap": "2h"})
    new = response.get_json()
    assert response.status_code == 200
    assert new["previous"]["ending"] == old["ending"]
    assert new["previous"]["works_until"]
    for secret in (old["key"], new["key"]):
        assert Caller(app.test_client(), secret)("GET", "/v1/models").status_code == 200


def test_a_rotation_without_overlap_ends_the_secret_before(app: Flask, admin: Caller) -> None:
    old = made(admin)
    new = admin("POST", f"/v1/admin/keys/{old['id']}/rotate", json={"overlap": None}).get_json()
    assert new["previous"] is None
    stale = Caller(app.test_client(), old["key"])
    assert_problem(stale("GET", "/v1/models"), 401, "invalid_api_key")


def test_a_revoked_key_is_gone(app: Flask, admin: Caller) -> None:
    key = made(admin)
    path = f"/v1/admin/keys/{key['id']}"
    assert admin("DELETE", path).status_code == 204
    assert_problem(
        Caller(app.test_client(), key["key"])("GET", "/v1/models"), 401, "invalid_api_key"
    )
    for method in ("GET", "DELETE"):
        assert_problem(admin(method, path), 404, "key_not_found")
    assert_problem(admin("POST", f"{path}/rotate", json={}), 404, "key_not_found")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tenant": "a b"}, "tenant"),
        ({"tenant": 5}, "tenant"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["fly"]}, "scopes.0"),
        ({"scopes": "read"}, "scopes"),
        ({"expires_in": "soon"}, "expires_in"),
        ({"expires_in": "1ms"}, "expires_in"),
        ({"expires_in": "999999999d"}, "expires_in"),
    ],
)
def test_a_key_that_cannot_be_is_refused(admin: Caller, fields: dict[str, Any], param: str) -> None:
    response = admin("POST", "/v1/admin/keys", json={"tenant": "acme", **fields})
    assert assert_problem(response, 422, "invalid_field")["error"]["param"] == param


def test_fields_left_out_or_made_up_are_told(admin: Caller) -> None:
    assert_problem(admin("POST", "/v1/admin/keys", json={}), 422, "missing_field")
    made_up = {"tenant": "acme", "scope": "read"}
    assert_problem(admin("POST", "/v1/admin/keys", json=made_up), 422, "unknown_field")
    assert_problem(admin("POST", "/v1/admin/keys", data=b"x"), 415, "unsupported_media_type")


def test_a_tenants_limits_are_set_all_at_once_and_hold_at_once(api: Caller, admin: Caller) -> None:
    path = "/v1/admin/tenants/acme/limits"
    set_to = admin("PUT", path, json={"queued_jobs": 1, "retention_seconds": 60}).get_json()
    assert set_to["limits"] == {
        "queued_jobs": 1,
        "requests_per_minute": None,
        "retention_seconds": 60,
        "image_bytes": None,
    }
    api.submit()
    assert_problem(api.create(question="And then?"), 429, "tenant_queue_full")
    assert admin("GET", "/v1/admin/tenants/acme").get_json()["queued"] == 1
    admin("PUT", path, json={})
    assert set(limits_of(admin, "acme").values()) == {None}
    api.submit(question="And then?")


def test_a_tenant_that_may_send_no_more_bytes_of_pictures_is_told_so(
    api: Caller, admin: Caller
) -> None:
    set_to = admin("PUT", "/v1/admin/tenants/acme/limits", json={"image_bytes": 0}).get_json()
    assert set_to["limits"]["image_bytes"] == 0
    told = assert_problem(api.create(), 429, "tenant_images_full")
    assert told["error"]["type"] == "rate_limit_error"
    assert_problem(api("POST", "/v1/images", json={"data": DATA_URI}), 429, "tenant_images_full")
    admin("PUT", "/v1/admin/tenants/acme/limits", json={})
    api.submit()


@pytest.mark.parametrize(
    "fields",
    [
        {"queued_jobs": -1},
        {"queued_jobs": "many"},
        {"requests_per_minute": 0},
        {"retention_seconds": 0},
        {"retention_seconds": 10**12},
    ],
)
def test_a_limit_that_cannot_be_is_refused(admin: Caller, fields: dict[str, Any]) -> None:
    response = admin("PUT", "/v1/admin/tenants/acme/limits", json=fields)
    assert_problem(response, 422, "invalid_field")
    assert set(limits_of(admin, "acme").values()) == {None}


def test_tenants_are_those_with_keys_or_limits(admin: Caller) -> None:
    admin("PUT", "/v1/admin/tenants/later/limits", json={"queued_jobs": 0})
    found = admin("GET", "/v1/admin/tenants").get_json()["data"]
    assert [tenant["name"] for tenant in found] == ["acme", "later", "ops"]


def test_what_can_be_no_tenant_is_a_404(admin: Caller) -> None:
    assert_problem(admin("GET", "/v1/admin/tenants/a:b"), 404, "not_found")
    assert_problem(admin("PUT", "/v1/admin/tenants/a:b/limits", json={}), 404, "not_found")


def names(page: dict[str, Any]) -> list[str]:
    """The tenants of a page."""
    return [one["name"] for one in page["data"]]


def test_tenants_are_listed_a_page_at_a_time(admin: Caller, client: Any) -> None:
    for name in ("b-1", "b", "b.2"):
        made(admin, tenant=name)
        made(admin, tenant=name)
    admin("PUT", "/v1/admin/tenants/b1/limits", json={"queued_jobs": 7})
    first = admin("GET", "/v1/admin/tenants?limit=3").get_json()
    assert (names(first), first["next"]) == (["acme", "b", "b-1"], "b-1")
    rest = admin("GET", "/v1/admin/tenants?after=b-1").get_json()
    assert (names(rest), rest["next"]) == (["b.2", "b1", "ops"], None)
    assert rest["data"][1]["limits"]["queued_jobs"] == 7


def test_keys_are_listed_by_tenant_a_page_at_a_time(admin: Caller) -> None:
    keys = [made(admin, tenant=name)["id"] for name in ("b", "b-1", "b", "b")]
    seen, after = [], ""
    while True:
        page = admin("GET", f"/v1/admin/keys?tenant=b&limit=2{after}").get_json()
        seen += [key["id"] for key in page["data"]]
        if page["next"] is None:
            break
        assert len(page["data"]) == 2
        after = f"&after={page['next']}"
    assert seen == sorted((keys[0], *keys[2:]))
    everyone = admin("GET", "/v1/admin/keys").get_json()["data"]
    assert [key["tenant"] for key in everyone] == ["acme", "b", "b", "b", "b-1", "ops"]


def test_what_an_older_version_made_or_revoked_is_listed_as_it_is(
    admin: Caller, client: Any
) -> None:
    kept, revoked = made(admin, tenant="kept")["id"], made(admin, tenant="revoked")["id"]
    client.delete("lj:keys-by-tenant")  # an older version knows no index
    client.delete(f"lj:key:{revoked}")
    client.srem("lj:keys", revoked)
    assert names(admin("GET", "/v1/admin/tenants").get_json()) == ["acme", "kept", "ops"]
    listed = admin("GET", "/v1/admin/keys").get_json()["data"]
    assert kept in [key["id"] for key in listed]


def test_a_tenant_without_keys_and_limits_is_none(admin: Caller) -> None:
    key = made(admin, tenant="brief")["id"]
    admin("PUT", "/v1/admin/tenants/brief/limits", json={"queued_jobs": 7})
    admin("DELETE", f"/v1/admin/keys/{key}")
    assert "brief" in names(admin("GET", "/v1/admin/tenants").get_json())
    admin("PUT", "/v1/admin/tenants/brief/limits", json={})
    assert "brief" not in names(admin("GET", "/v1/admin/tenants").get_json())
