"""Pictures that are sent once and named by id in later jobs."""

import io
import re
from typing import Any

import pytest

from jobs.ledger import Ledger
from jobs.scripts import PREFIX
from tests.eventually import eventually
from tests.ledgers import claimed
from tests.unit.api.conftest import DATA_URI, PNG, Caller, assert_problem


def uploaded(api: Caller) -> dict[str, Any]:
    """A picture that was just uploaded."""
    response = api("POST", "/v1/images", json={"data": DATA_URI})
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.get_json()
    return made


def asks_about(image_id: str, **part: Any) -> list[dict[str, Any]]:
    """A conversation about an uploaded picture."""
    shown = {"type": "image_url", "image_url": {"id": image_id, **part}}
    return [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, shown]}]


def test_an_upload_has_an_id_a_size_and_an_end(api: Caller) -> None:
    made = uploaded(api)
    assert set(made) == {"id", "width", "height", "expires_at"}
    assert re.fullmatch(r"img_[0-9a-f]{32}", made["id"])
    assert made["width"] > 0
    assert made["height"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", made["expires_at"])


def test_a_form_does_as_well(api: Caller) -> None:
    part = (io.BytesIO(PNG), "picture.png")
    made = api("POST", "/v1/images", data={"image": part}).get_json()
    assert (made["width"], made["height"]) == (uploaded(api)["width"], uploaded(api)["height"])


def test_a_job_shows_what_its_id_names(api: Caller, books: Ledger) -> None:
    api.submit(images=[{"data": DATA_URI}])
    api.submit(images=[{"id": uploaded(api)["id"]}], cache=False)
    sent, named = (claimed(books).job.conversation for _ in range(2))
    assert named == sent


def test_a_part_of_a_message_may_name_one(api: Caller, books: Ledger) -> None:
    messages = asks_about(uploaded(api)["id"], detail="high")
    assert api("POST", "/v1/jobs", json={"messages": messages}).status_code == 202
    [shown] = claimed(books).job.conversation.images
    assert shown.detail == "high"


def test_named_and_sent_pictures_stay_in_order(api: Caller, books: Ledger) -> None:
    made = uploaded(api)
    api.submit(
        images=[{"data": DATA_URI, "detail": "high"}, {"id": made["id"]}, {"data": DATA_URI}]
    )
    details = [shown.detail for shown in claimed(books).job.conversation.images]
    assert details == ["high", "auto", "auto"]


def test_the_same_picture_sent_or_named_is_the_same_question(api: Caller) -> None:
    first = api.submit()
    second = api.submit(images=[{"id": uploaded(api)["id"]}])
    assert api.job(second)["deduplicated_from"] == first


def test_another_tenants_picture_is_as_unknown_as_nobodys(api: Caller, stranger: Caller) -> None:
    theirs = uploaded(api)["id"]
    for image_id in (theirs, "img_" + "0" * 32, "x", "a:b"):
        for told in (
            stranger.create(images=[{"id": image_id}]),
            stranger("POST", "/v1/jobs", json={"messages": asks_about(image_id)}),
        ):
            assert assert_problem(told, 422, "image_not_found")["error"]["param"] == "images"
        response = stranger("DELETE", f"/v1/images/{image_id}")
        assert_problem(response, 404, "image_not_found")
    assert api.create(images=[{"id": theirs}]).status_code == 202


def test_an_expired_picture_is_told(api: Caller, client: Any) -> None:
    image_id = uploaded(api)["id"]
    client.pexpire(f"{PREFIX}upload:acme:{image_id}", 1)
    eventually(lambda: not client.exists(f"{PREFIX}upload:acme:{image_id}"), "it expires")
    assert_problem(api.create(images=[{"id": image_id}]), 422, "image_not_found")


def test_a_picture_that_was_lost_is_told(api: Caller, client: Any) -> None:
    image_id = uploaded(api)["id"]
    [stored] = client.keys(f"{PREFIX}image:acme:*")
    client.delete(stored)
    assert_problem(api.create(images=[{"id": image_id}]), 422, "image_expired")


def test_a_deleted_picture_is_gone_and_jobs_keep_what_they_show(
    api: Caller, books: Ledger, client: Any
) -> None:
    made = uploaded(api)
    api.submit(images=[{"id": made["id"]}])
    assert api("DELETE", f"/v1/images/{made['id']}").status_code == 204
    assert_problem(api("DELETE", f"/v1/images/{made['id']}"), 404, "image_not_found")
    assert_problem(api.create(images=[{"id": made["id"]}]), 422, "image_not_found")
    [shown] = claimed(books).job.conversation.images
    assert client.exists(f"{PREFIX}image:acme:{shown.digest}")


@pytest.mark.parametrize(
    ("image", "code"),
    [
        ({"data": DATA_URI, "id": "img_x"}, "conflicting_fields"),
        ({"id": ""}, "invalid_field"),
        ({"id": 5}, "invalid_field"),
        ({"id": None}, "missing_field"),
        ({"detail": "high"}, "missing_field"),
    ],
)
def test_a_picture_is_sent_or_named(api: Caller, image: dict[str, Any], code: str) -> None:
    assert_problem(api.create(images=[image]), 422, code)
    part = {("url" if name == "data" else name): value for name, value in image.items()}
    content = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": part}]
    messages = [{"role": "user", "content": content}]
    assert api("POST", "/v1/jobs", json={"messages": messages}).status_code == 422


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"json": {}}, 422, "missing_field"),
        ({"json": {"data": "!"}}, 422, "invalid_base64"),
        ({"json": {"data": "https://example.org/a.png"}}, 422, "image_url_off"),
        ({"json": {"data": "data:image/png;base64,AAAA"}}, 415, "image_unsupported"),
        ({"data": b"x", "content_type": "image/png"}, 415, "unsupported_media_type"),
        ({"data": {"question": "x"}, "content_type": "multipart/form-data"}, 422, "unknown_field"),
        ({"data": {}, "content_type": "multipart/form-data; boundary=X"}, 422, "missing_field"),
    ],
)
def test_what_is_no_picture_is_refused_and_leaves_nothing(
    api: Caller, client: Any, request_: dict[str, Any], status: int, code: str
) -> None:
    assert_problem(api("POST", "/v1/images", **request_), status, code)
    assert not client.keys(f"{PREFIX}image*")
    assert not client.keys(f"{PREFIX}upload*")
