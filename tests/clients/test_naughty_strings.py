"""Whatever texts a caller sends are given back to the letter, or refused for a reason that is told.

``naughty.txt`` has a JSON string on each line, so that what cannot be seen can be read.
"""

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.installations import Installation
from tests.unit.api.pictures import encoded, scene

STRINGS: list[str] = [
    *map(json.loads, Path(__file__).with_name("naughty.txt").read_text().splitlines()),
    *("x" * 8_000, "字" * 8_000, "🙂" * 8_000, "x" * 8_001, "\n" * 8_000, "</s>" * 2_000),
]
PICTURE = encoded(scene(), "PNG")
DATA_URI = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
LONGEST_QUESTION, LONGEST_GROUP = 8_000, 200
ROUNDS = range(8)


def askable(text: str) -> bool:
    """Whether a text can be a question."""
    return 0 < len(text) <= LONGEST_QUESTION and "\0" not in text and not text.isspace()


def groupable(text: str) -> str:
    """A text as the name of a group: not nothing, and not what clients resolve in a path."""
    return f"{text}..x" if text in {"", ".", ".."} else text[:LONGEST_GROUP]


def fields(text: str) -> dict[str, Any]:
    """A text in all places where a job can have one."""
    return {
        "question": text,
        "group": groupable(text),
        "metadata": {text[:200]: text[:200], "in": [{"it": text[:200]}], "n": None},
    }


def as_json(http: httpx.Client, told: dict[str, Any]) -> httpx.Response:
    """Post a job as JSON."""
    own = {"images": [{"data": DATA_URI}], "max_new_tokens": 1, "cache": False}
    return http.post("/v1/jobs", json={**own, **told})


def as_form(http: httpx.Client, told: dict[str, Any]) -> httpx.Response:
    """Post a job as a form, with the text as the picture's file name, too."""
    own = {"max_new_tokens": "1", "cache": "false", "metadata": json.dumps(told["metadata"])}
    files = {"image": (told["question"][:200] or "a.png", PICTURE)}
    return http.post("/v1/jobs", data={**told, **own}, files=files)


@pytest.mark.parametrize("part", ROUNDS)
def test_what_is_accepted_comes_back_to_the_letter(
    newcomer: httpx.Client, installation: Installation, part: int
) -> None:
    api = installation.process("gunicorn")
    for text in STRINGS[part :: len(ROUNDS)]:
        told = fields(text)
        for post in (as_json, as_form):
            response = post(newcomer, told)
            if not askable(text):
                assert_refused(response)
                continue
            assert response.status_code == 202, (text, response.text)
            job = newcomer.get(f"/v1/jobs/{response.json()['id']}").json()
            assert {name: job[name] for name in told} == told
    assert api.lives


def assert_refused(response: httpx.Response) -> None:
    """Hold an answer to a refusal that names the field."""
    assert response.status_code == 422, response.text
    assert response.json()["error"]["param"] == "question"
    assert response.json()["error"]["code"] in {"invalid_field", "question_too_long"}


@pytest.mark.parametrize("part", ROUNDS)
def test_a_group_of_any_name_is_found_stopped_and_erased(newcomer: httpx.Client, part: int) -> None:
    for text in STRINGS[part :: len(ROUNDS)]:
        group = groupable(text)
        response = as_json(newcomer, {"question": "Which?", "group": group})
        assert response.status_code == 202, (text, response.text)
        job_id = response.json()["id"]
        listed = newcomer.get("/v1/jobs", params={"group": group})
        assert listed.json()["data"][0]["id"] == job_id, text
        path = f"/v1/groups/{quote(group, safe='')}"
        assert newcomer.post(f"{path}/cancel").status_code == 200, text
        assert newcomer.delete(path).status_code == 204, text
        assert newcomer.get(f"/v1/jobs/{job_id}").status_code == 404


def test_everywhere_else_a_text_is_refused_or_does_nothing(newcomer: httpx.Client) -> None:
    for text in STRINGS:
        asked = [
            newcomer.get("/v1/jobs", params={"ids": text[:2_000], "limit": text[:50]}),
            newcomer.get("/v1/jobs", params={"after": text[:2_000], "status": text[:50]}),
            newcomer.get("/v1/events", params={"after": text[:2_000]}),
            newcomer.get(f"/v1/jobs/{quote(text[:200], safe='')}"),
            newcomer.get(f"/v1/models/{quote(text[:200], safe='')}"),
            as_json(newcomer, {"question": "Which?", "model": text[:200] or "x"}),
            as_json(newcomer, {"question": "Which?", "previous_job_id": text[:200] or "x"}),
        ]
        for response in asked:
            assert response.status_code < 500, (text, response.text)
            assert response.status_code in {200, 400, 404, 414, 422}, (text, response.text)


@pytest.mark.parametrize("lone", ['"\\ud800"', '"\\udfff x"', '{"\\ud83d": 1}'])
def test_half_a_character_is_no_json(newcomer: httpx.Client, lone: str) -> None:
    body = f'{{"question": "x", "images": [{{"data": "{DATA_URI}"}}], "metadata": {{"a": {lone}}}}}'
    response = newcomer.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "malformed_json"
