"""Answers followed as they are made, by callers that hang up and come back."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from llava_jobs.demo import PICTURES
from tests.eventually import eventually
from tests.gate import BEGINNING, Gate
from tests.installations import Installation, caller, ended, submit
from tests.integration.conftest import TRUTHS
from tests.sse import Told, events, text_of

AT_ONCE = 4
"""Streams that the talkative installation lets one tenant have."""


@contextmanager
def followed(http: httpx.Client, job_id: str, last: str = "") -> Iterator[Iterator[Told]]:
    """A job's stream, behind an event where one is named."""
    headers = {"Last-Event-ID": last} if last else {}
    with http.stream("GET", f"/v1/jobs/{job_id}/stream", headers=headers) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["Content-Type"].startswith("text/event-stream")
        yield events(response.iter_lines())


def until_text(told: Iterator[Told]) -> list[Told]:
    """What is told up to the first piece of the answer."""
    seen = []
    for event in told:
        seen.append(event)
        if event.kind == "token":
            break
    return seen


def test_a_right_answer_is_told_word_by_word(answering: Installation) -> None:
    example = max(TRUTHS, key=lambda truth: len(truth["answer"]))
    picture = (PICTURES / example["picture"]).read_bytes()
    with caller(answering.url, answering.key) as http:
        job = submit(http, picture, question=example["question"])
        with followed(http, job["id"]) as told:
            seen = list(told)
        assert text_of(seen) == example["answer"]
        assert seen[-1].kind == "done"
        assert seen[-1].data == http.get(job["links"]["self"]).json()
        with followed(http, job["id"]) as told:
            assert [event.kind for event in told] == ["token", "done"]


def test_a_long_answer_is_heard_while_it_grows_over_broken_connections(
    http: httpx.Client, gate: Gate, picture: bytes
) -> None:
    job_id = submit(http, picture, max_new_tokens="1000")["id"]
    seen: list[Told] = []
    for turn in range(1, 6):
        gate.close(turn * BEGINNING)
        with followed(http, job_id, seen[-1].id if seen else "") as told:
            seen += until_text(told)
        assert seen[-1].kind == "token"
    assert http.get(f"/v1/jobs/{job_id}").json()["status"] == "processing"
    gate.open()
    with followed(http, job_id, seen[-1].id) as told:
        seen += list(told)
    answer = ended(http, job_id)["answer"]["text"]
    assert text_of(seen) == answer
    assert [event.kind for event in seen].count("token") > 5
    assert len({event.id for event in seen}) == len(seen)


@pytest.mark.usefixtures("gate")
def test_whoever_hangs_up_frees_the_place_and_too_many_are_told(
    http: httpx.Client, installation: Installation, picture: bytes
) -> None:
    job_id = submit(http, picture, max_new_tokens="4000")["id"]
    callers = [
        httpx.Client(base_url=installation.url, headers=http.headers, timeout=20)
        for _ in range(AT_ONCE)
    ]
    for client in callers:
        response = client.send(
            client.build_request("GET", f"/v1/jobs/{job_id}/stream"), stream=True
        )
        assert response.status_code == 200
    refused = http.get(f"/v1/jobs/{job_id}/stream")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_connections")
    assert refused.headers["Retry-After"]
    for client in callers:
        client.close()

    def has_room() -> bool:
        with http.stream("GET", f"/v1/jobs/{job_id}/stream") as response:
            return response.status_code == 200

    eventually(has_room, "their places are free")
    http.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
    with followed(http, job_id) as told:
        assert list(told)[-1].data["status"] == "canceled"


def test_an_api_that_is_replaced_ends_streams_at_once_and_the_next_goes_on(
    http: httpx.Client, installation: Installation, gate: Gate, picture: bytes
) -> None:
    job_id = submit(http, picture, max_new_tokens="4000")["id"]
    restarts = len([line for line in installation.lines if "api started again" in line])
    with followed(http, job_id) as told:
        seen = until_text(told)
        os.kill(installation.process("gunicorn").pid, signal.SIGTERM)
        seen += list(told)
    assert seen[-1].kind == "token"

    def is_back() -> bool:
        return len([x for x in installation.lines if "api started again" in x]) > restarts

    eventually(is_back, "another API starts")

    def answers() -> bool:
        try:
            return http.get("/healthz").is_success
        except httpx.HTTPError:
            return False

    eventually(answers, "it answers")
    gate.close(4 * BEGINNING)
    with followed(http, job_id, seen[-1].id) as told:
        more = until_text(told)
    assert [event.kind for event in more] == ["token"]
    http.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
