"""How many bytes of requests an API process holds, and what whoever sends more is told."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from PIL import Image

from api.http.body_budget import FREE_BYTES, Bodies
from api.jobs.request import image_bytes
from jobs.errors import BodiesFull, InvalidRequest, TooManyBodies
from tests.eventually import eventually
from tests.unit.api.conftest import Caller, assert_problem
from tests.unit.api.forms import MIME, written
from tests.unit.api.pictures import encoded

ROOM = 1_000_000


@pytest.fixture(scope="module")
def noise() -> bytes:
    """A picture whose file is long enough to be counted."""
    data = encoded(Image.effect_noise((200, 200), 90).convert("RGB"), "PNG")
    assert FREE_BYTES < len(data) < ROOM // 4
    return data


@pytest.fixture
def bodies(app: Flask) -> Iterator[Bodies]:
    """The application's budget, in which nobody waits."""
    own = app.extensions["bodies"]
    app.extensions["bodies"] = Bodies(ROOM, wait_s=0)
    yield app.extensions["bodies"]
    app.extensions["bodies"] = own


def is_free(bodies: Bodies) -> bool:
    """Whether nothing is held."""
    try:
        let_go = bodies.hold("nobody else", 2 * ROOM)
    except BodiesFull:
        return False
    let_go()
    return True


def fields(picture: bytes) -> dict[str, Any]:
    """What a job is asked with, that shows a picture."""
    return {"images": [{"data": base64.b64encode(picture).decode()}]}


def test_of_all_bytes_one_tenant_may_have_three_quarters() -> None:
    bodies = Bodies(100, wait_s=0)
    bodies.hold("a", 75)
    with pytest.raises(TooManyBodies) as own:
        bodies.hold("a", 1)
    assert (own.value.status, own.value.retry_after) == (429, 2)
    let_go = bodies.hold("b", 25)
    with pytest.raises(BodiesFull) as full:
        bodies.hold("c", 1)
    assert (full.value.status, full.value.retry_after) == (503, 2)
    for _ in range(2):  # it is given back once, however often that is said
        let_go()
    bodies.hold("c", 25)
    with pytest.raises(BodiesFull):
        bodies.hold("d", 1)


@pytest.mark.parametrize("mine", [True, False])
def test_a_long_body_is_refused_where_there_is_no_room_and_taken_later(
    api: Caller, bodies: Bodies, noise: bytes, mine: bool
) -> None:
    let_go = bodies.hold("acme" if mine else "another", ROOM)
    expected = (429, "too_many_bodies") if mine else (503, "bodies_full")
    assert_problem(api.create(**fields(noise)), *expected)
    form = written({"question": "Which?", "image": ("a.png", noise)})
    assert_problem(api("POST", "/v1/jobs", data=form, content_type=MIME), *expected)
    assert_problem(
        api("POST", "/v1/images", data=written({"image": ("a.png", noise)}), content_type=MIME),
        *expected,
    )
    assert api.create().status_code == 202, "a short one is not counted"
    let_go()
    assert api.create(**fields(noise)).status_code == 202


def test_whatever_becomes_of_a_request_its_bytes_are_given_back(
    api: Caller, bodies: Bodies, noise: bytes
) -> None:
    assert api.create(**fields(noise)).status_code == 202
    assert api.create(**fields(noise[:-5000])).status_code == 422
    assert api.create(question="x" * FREE_BYTES).status_code == 422
    too_long = {"data": "x" * (3 * ROOM)}
    assert api("POST", "/v1/images", json=too_long).status_code == 413
    not_json = {"data": b"{" * 2 * FREE_BYTES, "content_type": "application/json"}
    assert api("POST", "/v1/jobs", **not_json).status_code == 400
    assert is_free(bodies)


def test_nobody_without_a_key_sends_a_long_body(app: Flask, bodies: Bodies) -> None:
    form = written({"key": "k", "image": ("a.png", bytes(2 * FREE_BYTES))})
    answer = app.test_client().post(
        "/sign-in", data=form, content_type=MIME, headers={"Origin": "http://localhost"}
    )
    assert answer.status_code == 413
    assert is_free(bodies)


def test_a_body_of_unknown_length_is_counted_as_it_comes(
    app: Flask, api: Caller, bodies: Bodies, noise: bytes
) -> None:
    form = written({"question": "Which?", "image": ("a.png", noise)})

    def send() -> int:
        return api(
            "POST",
            "/v1/jobs",
            input_stream=io.BytesIO(form),
            content_type=MIME,
            headers={"Transfer-Encoding": "chunked"},
            environ_overrides={"wsgi.input_terminated": True},
        ).status_code

    # It needs its steps of room, and not as much as the longest body.
    app.extensions["bodies"] = bodies = Bodies(4 << 20, wait_s=0)
    assert send() == 202
    assert is_free(bodies)
    let_go = bodies.hold("another", 4 << 20)
    assert send() == 503
    let_go()
    assert is_free(bodies)


def test_whoever_holds_room_and_is_slow_is_cut_off_while_others_wait(
    app: Flask, api: Caller, bodies: Bodies, noise: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.http.body_budget.SLOW_S", -1.0)
    assert api.create(**fields(noise)).status_code == 202, "nobody waits"
    monkeypatch.setattr(Bodies, "are_awaited", True)
    assert_problem(api.create(**fields(noise)), 408, "request_timeout")
    assert is_free(bodies)


def test_nothing_is_held_of_a_body_while_its_sender_waits_for_the_answer(
    api: Caller, bodies: Bodies, noise: bytes
) -> None:
    answers = []

    def wait() -> None:
        answers.append(api.create({"Prefer": "wait=60"}, group="held", **fields(noise)))

    waiting = threading.Thread(target=wait)
    waiting.start()
    eventually(lambda: api("GET", "/v1/jobs").json["data"], "it is accepted")  # type: ignore[index]
    eventually(lambda: is_free(bodies), "its bytes are given back")
    assert waiting.is_alive()
    api("POST", "/v1/groups/held/cancel")
    waiting.join()
    assert answers[0].status_code == 200


@pytest.mark.parametrize("size", [0, 1, 786_430, 786_431, 786_432, 786_433, 2_000_000])
def test_base64_is_read_in_pieces_to_the_same_bytes(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    text = base64.b64encode(data).decode()
    assert image_bytes(text) == data
    assert image_bytes(f"data:image/png;base64,{text}") == data


@pytest.mark.parametrize("at", [4, 1_048_576, 2_097_152])
def test_padding_is_taken_nowhere_but_at_the_end(at: int) -> None:
    whole = "A" * 3_000_000
    with pytest.raises(InvalidRequest) as refused:
        image_bytes(whole[: at - 2] + "==" + whole[at:])
    assert refused.value.code == "invalid_base64"
