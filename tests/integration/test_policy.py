"""A whole installation under a content policy: what it refuses nobody sees, by whatever way."""

import os
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest
from openai import BadRequestError, OpenAI

from llava_jobs.client import Client
from llava_jobs.demo import PICTURES
from llava_jobs.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.installations import (
    CELERY,
    Installation,
    Running,
    caller,
    ended,
    environment,
    submit,
)
from tests.policies import BREAK, CARD, CODE, HANG
from tests.unit.api.conftest import DATA_URI

PICTURE = (PICTURES / "landscape.jpg").read_bytes()
ASKED = {"code": "refused", "message": "This service does not read card numbers."}
READ = {"code": "refused", "message": "The answer looked like a card number and is not shown."}


@pytest.fixture
def http(guarded: Installation) -> Iterator[httpx.Client]:
    """A caller of the guarded installation."""
    with caller(guarded.url, guarded.key) as client:
        yield client


def test_a_question_that_the_policy_does_not_want_fails_as_refused(http: httpx.Client) -> None:
    job = ended(http, submit(http, PICTURE, question="What is the card number?")["id"])
    assert (job["status"], job["status_reason"]) == ("failed", "refused")
    assert job["error"] == {**ASKED, "rule": "card_asked"}
    assert (job["answer"], job["usage"]) == (None, None)


def test_an_answer_that_the_policy_does_not_want_is_shown_nowhere(
    guarded: Installation, http: httpx.Client
) -> None:
    job_id = submit(http, PICTURE, question=CODE, cache="true")["id"]
    with Client(guarded.url, guarded.key) as client:
        events = list(client.stream(job_id))
    job = ended(http, job_id)

    assert (job["status"], job["status_reason"]) == ("failed", "refused")
    assert job["error"] == {**READ, "rule": "card_read"}
    assert job["usage"]["completion_tokens"] > 0
    assert [event.kind for event in events if event.kind == "token"] == []
    assert events[-1].data == job
    assert "E42" not in http.get("/v1/events").text + str(job)

    again = ended(http, submit(http, PICTURE, question=CODE, cache="true")["id"])
    assert (again["status_reason"], again["deduplicated_from"]) == ("refused", None)
    on = http.post("/v1/jobs", json={"question": "And?", "previous_job_id": job_id})
    assert on.json()["error"]["code"] == "previous_job_unanswered"


def test_an_answer_that_passes_is_streamed_once_it_has_been_judged(
    guarded: Installation, http: httpx.Client
) -> None:
    job_id = submit(http, PICTURE)["id"]
    with Client(guarded.url, guarded.key) as client:
        events = list(client.stream(job_id))
    pieces = [event.data["text"] for event in events if event.kind == "token"]
    assert pieces == ["The code is E42."]
    assert events[-1].data["status"] == "succeeded"


def test_the_openai_package_is_told_of_a_refusal(guarded: Installation) -> None:
    image = {"type": "image_url", "image_url": {"url": DATA_URI}}
    text = {"type": "text", "text": "Who is this person?"}
    client = OpenAI(base_url=f"{guarded.url}/v1", api_key=guarded.key)
    with client, pytest.raises(BadRequestError) as refused:
        client.chat.completions.create(
            model="demo",
            messages=[{"role": "user", "content": [image, text]}],  # type: ignore[list-item,misc]
        )
    assert refused.value.code == "refused"


def test_a_policy_that_hangs_or_breaks_fails_its_own_jobs_closed_and_holds_up_no_other(
    guarded: Installation, http: httpx.Client
) -> None:
    failed = [submit(http, PICTURE, question=BREAK)["id"]]

    def is_answered_while_it_hangs() -> bool:
        failed.append(submit(http, PICTURE, question=HANG)["id"])
        asked, hung = (ended(http, id_) for id_ in (submit(http, PICTURE)["id"], failed[-1]))
        assert asked["answer"]["text"] == "The code is E42."
        return _finished(asked) < _finished(hung)

    # Again where a slow machine took longer for its answer than the policy may hang.
    eventually(is_answered_while_it_hangs, "an answer comes while the policy hangs")
    for job_id in failed:
        job = ended(http, job_id)
        assert (job["status"], job["status_reason"]) == ("failed", "error")
        assert (job["error"]["code"], job["answer"]) == ("policy_failed", None)
        assert [attempt["outcome"] for attempt in job["attempts"]] == ["retried", "failed"]
    log = (guarded.data_dir / "worker-1.log").read_text()
    assert "policy_failed" in log
    for unsaid in (BREAK, HANG, CARD, "E42", "card number"):
        assert unsaid not in log


def _finished(job: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(job["finished_at"])


def test_a_policy_that_cannot_be_loaded_ends_the_worker_with_the_cure(
    store: EmbeddedStore,
) -> None:
    worker = Running(CELERY, environment(redis_url=store.url, policy="nowhere:Policy"))
    try:
        assert worker.status() == os.EX_CONFIG
        [cause] = [line for line in worker.lines if line.startswith("llava-jobs worker: ")]
        assert "LLAVA_JOBS_POLICY" in cause
        assert "PYTHONPATH" in cause
    finally:
        worker.end()
