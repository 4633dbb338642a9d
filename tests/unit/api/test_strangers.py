"""Whatever route another tenant calls about a thing of ours, there is no such thing."""

import itertools
import re
from typing import Any

import pytest
from flask import Flask

from jobs.ledger import Ledger
from jobs.webhook_secrets import WebhookSecrets
from tests.ledgers import ANSWER, claimed, everything
from tests.unit.api.conftest import DATA_URI, Caller, assert_problem

GROUP = "ours"
FOR_ALL = {"/v1/models/<path:name>"}
"""Routes whose names belong to nobody."""


@pytest.fixture
def ours(api: Caller, books: Ledger, client: Any) -> dict[str, list[str]]:
    """Things of ours, by the name that routes have for them; jobs in each of three states."""
    WebhookSecrets(client).create("acme")
    webhook = {"url": "https://hooks.example.com/"}
    jobs = [
        api.submit(question=f"{state}?", group=GROUP, webhook=webhook, cache=False)
        for state in ("ended", "running", "queued")
    ]
    books.finish(claimed(books), ANSWER)
    claimed(books)
    upload = api("POST", "/v1/images", json={"data": DATA_URI}).json
    assert upload
    return {"job_id": jobs, "image_id": [upload["id"]], "name": [GROUP]}


def calls(app: Flask, ours: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Every route that names a thing, with each of ours in its place."""
    found = []
    for rule in app.url_map.iter_rules():
        if not rule.arguments or not rule.rule.startswith("/v1/") or rule.rule in FOR_ALL:
            continue
        if rule.rule.startswith("/v1/admin/"):
            continue  # which is for those who run it, and for no tenant
        for method in sorted((rule.methods or set()) - {"OPTIONS", "HEAD"}):
            names = [ours.get(name, ["unknown"]) for name in sorted(rule.arguments)]
            for things in itertools.product(*names):
                left = iter(things)
                parts = re.split(r"<[^>]+>", rule.rule)
                path = "".join(f"{part}{next(left, '')}" for part in parts)
                found.append((method, path))
    return found


def test_no_route_shows_or_changes_a_thing_of_anothers(
    app: Flask, stranger: Caller, ours: dict[str, list[str]], client: Any
) -> None:
    asked = calls(app, ours)
    assert len(asked) > 15
    before = everything(client)
    for method, path in asked:
        response = stranger(method, path)
        assert_problem(response, 404, response.get_json(force=True)["error"]["code"])
    assert everything(client) == before


def test_no_list_shows_a_thing_of_anothers(
    app: Flask, stranger: Caller, ours: dict[str, list[str]]
) -> None:
    things = list(itertools.chain(*ours.values()))
    queries = ["", f"?ids={','.join(ours['job_id'])}", f"?group={GROUP}", "?status=queued"]
    for rule in app.url_map.iter_rules():
        if rule.arguments or "GET" not in (rule.methods or set()) or "/admin/" in rule.rule:
            continue
        for query in queries if rule.rule == "/v1/jobs" else [""]:
            response = stranger("GET", rule.rule + query)
            assert response.status_code < 500
            assert not [thing for thing in things if f'"{thing}"' in response.text], rule.rule


def test_no_request_can_build_on_a_thing_of_anothers(
    stranger: Caller, ours: dict[str, list[str]]
) -> None:
    ended, image = ours["job_id"][0], ours["image_id"][0]
    assert_problem(stranger.create(previous_job_id=ended), 422, "previous_job_not_found")
    assert_problem(stranger.create(images=[{"id": image}]), 422, "image_not_found")
