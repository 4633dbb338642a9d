"""Another tenant's key finds nothing: each route that names a thing is a 404, and lists are empty.

Both tables are held to the application's routes, so that whoever adds one must say what it names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask

from jobs.job import Outcome, Reason, Status
from jobs.ledger import Ledger
from tests.ledgers import FAILURE, everything
from tests.unit.api.conftest import Caller, assert_problem
from tests.unit.api.openai import batching
from tests.unit.api.openai.batching import ENDPOINT, begin, picture, questions, uploaded

WHERE = "say in tests/unit/api/test_other_tenants.py what it names, or shows"


@dataclass(frozen=True)
class Things:
    """What a tenant has, as the paths of routes name it."""

    queued: str
    ended: str
    failed: str
    image: str
    file: str
    batch: str
    ended_batch: str
    group: str = "ticket-of-acme"

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids that the store gave them."""
        jobs = (self.queued, self.ended, self.failed)
        return (*jobs, self.image, self.file, self.batch, self.ended_batch)

    @property
    def words(self) -> tuple[str, ...]:
        """What no answer to anybody else may have in it."""
        return (*self.ids, self.group, "question of acme")


_NONE = "0" * 32
NOWHERE = Things(
    *(f"job_{_NONE}", f"job_{_NONE}", f"job_{_NONE}"),
    *(f"img_{_NONE}", f"file-{_NONE}", f"batch_{_NONE}", f"batch_{_NONE}", "nobody's"),
)
"""What no tenant has."""


@pytest.fixture
def things(app: Flask, api: Caller, books: Ledger) -> Things:
    """Of tenant acme: jobs that ended, failed and wait, a picture, a group, a file, two batches."""
    api("POST", "/v1/webhooks/secret")
    url = "https://receiver.example.com/"
    ended = api.submit(question="question of acme", webhook={"url": url})
    claim = books.claim("demo", "w1")
    assert claim
    answer = {"text": "answer of acme", "finish_reason": "stop"}
    books.finish(claim, Outcome(Status.SUCCEEDED, answer=answer))
    failed = api.submit(question="question of acme", cache=False)
    claim = books.claim("demo", "w1")
    assert claim
    books.finish(claim, Outcome(Status.FAILED, Reason.ERROR, error=FAILURE))
    queued = api.submit(question="question of acme", group=Things.group, cache=False)
    image = picture(api)
    lines = questions(image, 1)
    over = batching.failed(app, api)["id"]
    file, begun = uploaded(api, lines), begin(api, lines)["id"]
    return Things(queued, ended, failed, image, file, begun, over)


Path = Callable[[Things], str]
NAMED: dict[str, tuple[Path, str]] = {
    "GET /v1/jobs/<job_id>": (lambda t: f"/v1/jobs/{t.ended}", "job_not_found"),
    "GET /v1/jobs/<job_id>/stream": (lambda t: f"/v1/jobs/{t.ended}/stream", "job_not_found"),
    "POST /v1/jobs/<job_id>/cancel": (lambda t: f"/v1/jobs/{t.queued}/cancel", "job_not_found"),
    "POST /v1/jobs/<job_id>/retry": (lambda t: f"/v1/jobs/{t.failed}/retry", "job_not_found"),
    "DELETE /v1/jobs/<job_id>": (lambda t: f"/v1/jobs/{t.ended}", "job_not_found"),
    "GET /v1/jobs/<job_id>/deliveries": (
        lambda t: f"/v1/jobs/{t.ended}/deliveries",
        "job_not_found",
    ),
    "POST /v1/jobs/<job_id>/deliveries": (
        lambda t: f"/v1/jobs/{t.ended}/deliveries",
        "job_not_found",
    ),
    "POST /v1/groups/<text:name>/cancel": (
        lambda t: f"/v1/groups/{t.group}/cancel",
        "group_not_found",
    ),
    "DELETE /v1/groups/<text:name>": (lambda t: f"/v1/groups/{t.group}", "group_not_found"),
    "DELETE /v1/images/<image_id>": (lambda t: f"/v1/images/{t.image}", "image_not_found"),
    "GET /v1/files/<file_id>": (lambda t: f"/v1/files/{t.file}", "file_not_found"),
    "GET /v1/files/<file_id>/content": (lambda t: f"/v1/files/{t.file}/content", "file_not_found"),
    "DELETE /v1/files/<file_id>": (lambda t: f"/v1/files/{t.file}", "file_not_found"),
    "GET /v1/batches/<batch_id>": (lambda t: f"/v1/batches/{t.batch}", "batch_not_found"),
    "POST /v1/batches/<batch_id>/cancel": (
        lambda t: f"/v1/batches/{t.batch}/cancel",
        "batch_not_found",
    ),
    "DELETE /v1/batches/<batch_id>": (lambda t: f"/v1/batches/{t.ended_batch}", "batch_not_found"),
}
"""Routes that name a thing of a tenant's: its path, and the code of the 404."""

SHOWN: dict[str, Path] = {
    "GET /v1/jobs": lambda t: f"/v1/jobs?ids={t.ended},{t.queued}",
    "GET /v1/events": lambda _: "/v1/events",
    "GET /v1/files": lambda _: "/v1/files",
    "GET /v1/batches": lambda _: "/v1/batches",
}
"""Routes that show what a tenant has: how it is asked for all of another's."""

CHANGES_NOTHING_ELSE = {
    *("POST /v1/jobs", "POST /v1/images", "POST /v1/chat/completions"),
    *("POST /v1/files", "POST /v1/batches"),
    *("POST /v1/webhooks/secret", "POST /v1/webhooks/secret/rotate", "POST /v1/webhooks/enable"),
}
"""Routes that make, or change, what the caller has; tests below name others' things in them."""

OF_EVERYBODY = {"GET /v1/models", "GET /v1/models/<path:name>"}
"""Routes that show what belongs to no tenant."""


def routes(app: Flask) -> set[str]:
    """Every route of tenants as ``method rule``."""
    return {
        f"{method} {rule.rule}"
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/v1/") and not rule.rule.startswith("/v1/admin/")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def test_every_route_of_tenants_is_in_one_of_the_tables(app: Flask) -> None:
    told = {*NAMED, *SHOWN, *CHANGES_NOTHING_ELSE, *OF_EVERYBODY}
    for missing in sorted(routes(app) - told):
        pytest.fail(f"{missing} is in no table: {WHERE}")
    for gone in sorted(told - routes(app)):
        pytest.fail(f"{gone} is in a table, and is no route")


@pytest.mark.parametrize("route", NAMED)
def test_a_thing_of_another_tenant_is_a_404_and_stays_as_it_is(
    stranger: Caller, client: Any, things: Things, route: str
) -> None:
    path, code = NAMED[route]
    before = everything(client)
    response = stranger(route.partition(" ")[0], path(things))
    assert_problem(response, 404, code)
    same = stranger(route.partition(" ")[0], path(NOWHERE))
    assert told(response) == told(same), "it cannot be told from what is not there at all"
    assert everything(client) == before


@pytest.mark.parametrize("route", NAMED)
def test_its_own_tenant_finds_it(api: Caller, things: Things, route: str) -> None:
    path, _ = NAMED[route]
    assert api(route.partition(" ")[0], path(things)).status_code < 300


@pytest.mark.parametrize("route", SHOWN)
def test_lists_show_nothing_of_another_tenant(
    api: Caller, stranger: Caller, things: Things, route: str
) -> None:
    for path in (SHOWN[route](things), route.partition(" ")[2], f"/v1/jobs?group={things.group}"):
        response = stranger("GET", path)
        assert response.json
        assert response.json["data"] == []
        assert not any(word in response.text for word in things.words)
    assert api("GET", SHOWN[route](things)).json["data"]  # type: ignore[index]


def test_a_cursor_of_another_tenant_leads_nowhere(stranger: Caller, things: Things) -> None:
    response = stranger("GET", f"/v1/jobs?after={things.ended}")
    assert_problem(response, 422, "cursor_expired")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"images": "image"}, "image_not_found"),
        ({"images": ..., "previous_job_id": "ended"}, "previous_job_not_found"),
    ],
    ids=["a picture", "a job to ask on from"],
)
def test_a_job_cannot_name_what_another_tenant_has(
    stranger: Caller, things: Things, fields: dict[str, Any], code: str
) -> None:
    if fields["images"] == "image":
        fields = {"images": [{"id": things.image}]}
    else:
        fields = {**fields, "previous_job_id": things.ended}
    assert_problem(stranger.create(**fields), 422, code)


def test_the_same_question_is_answered_anew_for_another_tenant(
    stranger: Caller, things: Things
) -> None:
    job = stranger.job(stranger.submit(question="question of acme"))
    assert job["deduplicated_from"] is None
    assert job["status"] == "queued"


def test_a_batch_cannot_read_what_another_tenant_sent(stranger: Caller, things: Things) -> None:
    asked = {"input_file_id": things.file, "endpoint": ENDPOINT, "completion_window": "24h"}
    assert_problem(stranger("POST", "/v1/batches", json=asked), 400, "file_not_found")


def test_an_idempotency_key_is_its_tenants_own(
    api: Caller, stranger: Caller, things: Things
) -> None:
    key = {"Idempotency-Key": "the same"}
    first, other = api.create(key), stranger.create(key)
    assert first.status_code == other.status_code == 202
    assert first.json["id"] != other.json["id"]  # type: ignore[index]


def told(response: Any) -> dict[str, Any]:
    """An error but for the path, which is the caller's own."""
    return {**response.get_json(force=True), "instance": None}
