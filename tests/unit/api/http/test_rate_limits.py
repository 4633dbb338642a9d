"""A tenant's share of requests, as the API tells it and holds it."""

import re
from typing import Any

import pytest
from flask import Flask

from jobs.keys import Keys, Scope
from jobs.tenants import TenantLimits, Tenants
from tests.unit.api.conftest import Caller, assert_problem

POLICY = re.compile(r'"requests";q=(\d+);w=(\d+)')
LEFT = re.compile(r'"requests";r=(\d+);t=(\d+)')


def left(response: Any) -> int:
    """How many requests an answer says are left."""
    found = LEFT.fullmatch(response.headers["RateLimit"])
    assert found
    return int(found[1])


@pytest.fixture
def limited(client: Any, api: Caller) -> Caller:
    """A caller who may send three requests a minute."""
    Tenants(client).set_limits("acme", TenantLimits(requests_per_minute=3))
    return api


def test_every_answer_tells_policy_and_share(limited: Caller) -> None:
    first, second = limited.create(), limited("GET", "/v1/jobs/nothing")
    for response in (first, second):
        policy = POLICY.fullmatch(response.headers["RateLimit-Policy"])
        assert policy
        assert policy.groups() == ("3", "60")
    assert [left(first), left(second)] == [2, 1]


def test_over_the_limit_is_a_429_that_says_when_to_go_on(limited: Caller) -> None:
    for _ in range(3):
        assert limited("GET", "/v1/models").status_code == 200
    refused = limited.create()
    told = assert_problem(refused, 429, "rate_limited")
    assert told["error"]["type"] == "rate_limit_error"
    assert 1 <= int(refused.headers["Retry-After"]) <= 20
    assert left(refused) == 0


def test_a_tenants_keys_share_one_limit(app: Flask, limited: Caller, client: Any) -> None:
    second = Caller(app.test_client(), Keys(client).create("acme"))
    assert [left(limited("GET", "/v1/models")), left(second("GET", "/v1/models"))] == [2, 1]


def test_other_tenants_go_on(limited: Caller, stranger: Caller) -> None:
    for _ in range(4):
        limited("GET", "/v1/models")
    assert stranger("GET", "/v1/models").status_code == 200


def test_a_call_that_the_key_may_not_make_counts_too(
    app: Flask, limited: Caller, client: Any
) -> None:
    reader = Caller(app.test_client(), Keys(client).create("acme", scopes=[Scope.READ]))
    refused = reader.create()
    assert_problem(refused, 403, "insufficient_scope")
    assert left(refused) == 2


def test_whoever_has_no_key_is_told_nothing_and_costs_nothing(app: Flask, limited: Caller) -> None:
    for path in ("/v1/models", "/healthz"):
        assert "RateLimit" not in app.test_client().get(path).headers
    assert left(limited("GET", "/v1/models")) == 2


def test_the_installations_limit_holds_where_a_tenant_has_none(api: Caller) -> None:
    assert "q=60000;w=60" in api("GET", "/v1/models").headers["RateLimit-Policy"]
