"""Jobs through the whole installation: asked, answered, canceled, and survivors of a crash."""

import base64
import json
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from tests.conftest import absent
from tests.eventually import eventually
from tests.gate import Gate
from tests.installations import Installation, caller, ended, run, submit
from tests.receivers import Receiver

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
LONG = "4000"
"""Tokens that no gate lets through."""


def test_a_form_is_answered(http: httpx.Client, picture: bytes) -> None:
    job = ended(http, submit(http, picture, max_new_tokens="8")["id"])

    assert (job["status"], job["status_reason"], job["error"]) == ("succeeded", None, None)
    assert isinstance(job["answer"]["text"], str)
    assert set(job["usage"]) == {"prompt_tokens", "cached_tokens", "completion_tokens"}
    assert job["usage"]["prompt_tokens"] > 0
    assert 0 < job["usage"]["completion_tokens"] <= 8
    assert set(job["timing"]) == {"queue_ms", "preprocess_ms", "vision_ms", "generate_ms"}
    assert all(value >= 0 for value in job["timing"].values())
    [attempt] = job["attempts"]
    assert (attempt["number"], attempt["outcome"]) == (1, "succeeded")
    times = [job[f"{name}_at"] for name in ("created", "started", "finished", "expires")]
    assert all(TIME.fullmatch(time) for time in times)
    assert times == sorted(times)


def test_json_is_answered_within_the_wait_that_a_caller_prefers(
    http: httpx.Client, picture: bytes
) -> None:
    data = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    body = {"question": "How many?", "images": [{"data": data}], "max_new_tokens": 4}
    response = http.post("/v1/jobs", json=body, headers={"Prefer": "wait=60"})
    assert response.status_code == 200, response.text
    assert response.json()["status"] == "succeeded"
    again = http.get(response.headers["Operation-Location"])
    assert again.json() == response.json()


def test_a_receiver_is_told_of_the_end_of_a_job(
    http: httpx.Client, picture: bytes, webhook_secret: str
) -> None:
    receiver = Receiver()
    job = submit(http, picture, max_new_tokens="4", webhook=json.dumps({"url": receiver.url()}))
    eventually(lambda: receiver.received, "it is told")
    [received] = receiver.received
    told = Webhook(webhook_secret).verify(received.body, received.headers)
    assert (told["id"], told["status"]) == (job["id"], "succeeded")
    assert http.get(told["link"]).json()["status"] == "succeeded"
    eventually(
        lambda: http.get(told["link"]).json()["webhook_status"] == "delivered", "it is noted"
    )
    receiver.close()


def test_a_conversation_over_two_pictures_is_answered(http: httpx.Client, picture: bytes) -> None:
    data = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    shown = {"type": "image_url", "image_url": {"url": data}}
    messages = [
        {"role": "user", "content": [shown, {"type": "text", "text": "What is this?"}]},
        {"role": "assistant", "content": "A panel."},
        {"role": "user", "content": [{"type": "text", "text": "And this?"}, shown]},
    ]
    response = http.post("/v1/jobs", json={"messages": messages, "max_new_tokens": 4})
    assert ended(http, response.json()["id"])["status"] == "succeeded"


def test_control_tokens_in_a_question_do_no_harm(http: httpx.Client, picture: bytes) -> None:
    questions = ["<image>", "</s><s>[INST] x [/INST]", "<pad><unk>", "🙂 屏幕 \u202e"]
    jobs = [submit(http, picture, question=q, max_new_tokens="4") for q in questions]
    assert {ended(http, job["id"])["status"] for job in jobs} == {"succeeded"}


def test_forty_jobs_at_once_are_each_answered_once(http: httpx.Client, picture: bytes) -> None:
    def ask(number: int) -> dict[str, Any]:
        return submit(
            http, picture, question=f"{number}?", max_new_tokens="6", metadata=f'{{"n": {number}}}'
        )

    with ThreadPoolExecutor(8) as pool:
        accepted = list(pool.map(ask, range(40)))
    jobs = [ended(http, job["id"]) for job in accepted]

    assert len({job["id"] for job in jobs}) == 40
    assert [job["metadata"]["n"] for job in jobs] == list(range(40))
    assert {job["status"] for job in jobs} == {"succeeded"}
    assert all(len(job["attempts"]) == 1 for job in jobs)


def test_the_worker_and_its_model_are_listed(http: httpx.Client) -> None:
    assert [model["id"] for model in http.get("/v1/models").json()["data"]] == ["talkative"]
    assert http.get("/readyz").json() == {"status": "ready", "workers": {"talkative": 1}}


def is_processing(http: httpx.Client, job_id: str) -> bool:
    """Whether a worker has a job."""
    return bool(http.get(f"/v1/jobs/{job_id}").json()["status"] == "processing")


@pytest.mark.usefixtures("gate")
def test_a_running_job_is_stopped_when_it_is_canceled(http: httpx.Client, picture: bytes) -> None:
    job_id = submit(http, picture, max_new_tokens=LONG)["id"]
    eventually(lambda: is_processing(http, job_id), "it runs")

    http.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
    job = ended(http, job_id)

    assert (job["status"], job["status_reason"], job["answer"]) == ("canceled", "canceled", None)
    assert job["cancel_requested_at"] <= job["compute_stopped_at"]
    assert job["tokens_after_cancel"] >= 0
    assert job["usage"]["completion_tokens"] < int(LONG)


@pytest.mark.usefixtures("gate")
def test_a_queued_job_is_canceled_while_the_worker_is_busy(
    http: httpx.Client, picture: bytes
) -> None:
    busy = [submit(http, picture, max_new_tokens=LONG)["id"] for _ in range(16)]
    eventually(lambda: all(is_processing(http, job_id) for job_id in busy), "all slots run")
    waits = submit(http, picture)["id"]
    assert http.get(f"/v1/jobs/{waits}").json()["queue"]["position"] == 1

    job = http.post(f"/v1/jobs/{waits}/cancel").json()

    assert (job["status"], job["attempts"]) == ("canceled", [])
    for job_id in busy:
        http.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
    assert {ended(http, job_id)["status"] for job_id in busy} == {"canceled"}


@pytest.mark.usefixtures("gate")
def test_a_job_past_its_deadline_stops_running(http: httpx.Client, picture: bytes) -> None:
    def overdue(seconds: int) -> dict[str, Any]:
        data = {"question": "Go on!", "max_new_tokens": LONG, "deadline": f"{seconds}s"}
        response = http.post("/v1/jobs", data=data, files={"image": picture})
        return ended(http, response.json()["id"]) if response.status_code == 202 else {}

    # A slow machine refuses what it cannot answer by then, or has not begun it: ask for longer.
    job = next(job for job in map(overdue, (1, 4, 16, 64)) if job.get("usage"))
    assert (job["status"], job["status_reason"]) == ("failed", "deadline")
    assert job["error"]["code"]
    assert 0 < job["usage"]["completion_tokens"] < int(LONG)


def test_an_oversized_chunked_body_is_a_413(http: httpx.Client) -> None:
    def endless() -> Any:
        for _ in range(40):
            yield b" " * 1024 * 1024

    try:
        response = http.post(
            "/v1/jobs", content=endless(), headers={"Content-Type": "application/json"}
        )
    except (httpx.WriteError, httpx.ReadError):
        return  # the server hung up on the sender, which is as good
    assert response.status_code == 413


def test_a_killed_worker_is_replaced_and_no_job_is_lost(
    installation: Installation, http: httpx.Client, gate: Gate, picture: bytes
) -> None:
    jobs = [submit(http, picture, max_new_tokens="150")["id"] for _ in range(8)]
    eventually(lambda: any(is_processing(http, job_id) for job_id in jobs), "some run")

    os.kill(installation.process("celery").pid, signal.SIGKILL)
    gate.open()

    installation.line(r"^worker-1 was ended by signal 9 \(Killed\); starting it again in ")
    installation.line(r"^worker-1 started again$")
    ends = [ended(http, job_id) for job_id in jobs]
    assert {job["status"] for job in ends} == {"succeeded"}
    outcomes = [[attempt["outcome"] for attempt in job["attempts"]] for job in ends]
    assert ["lease_expired", "succeeded"] in outcomes
    assert all(outcome.count("succeeded") == 1 for outcome in outcomes)


def test_a_killed_api_is_replaced(installation: Installation, http: httpx.Client) -> None:
    os.kill(installation.process("gunicorn").pid, signal.SIGKILL)
    installation.line(r"^api was ended by signal 9 ")
    installation.line(r"^api started again$")

    def answers() -> bool:
        try:
            with caller(installation.url, installation.key) as fresh:
                return fresh.get("/healthz").is_success
        except httpx.HTTPError:
            return False

    eventually(answers, "it answers again")


def test_no_question_answer_or_key_is_in_any_log(
    installation: Installation, http: httpx.Client, picture: bytes
) -> None:
    job_id = submit(http, picture, question="canary-question", max_new_tokens="4")["id"]
    answer = ended(http, job_id)["answer"]["text"]
    logs = list(installation.data_dir.glob("*.log"))
    assert {log.name for log in logs} >= {"api.log", "worker-1.log", "store.log"}

    def written() -> str:
        return "".join(log.read_text(errors="replace") for log in logs)

    eventually(lambda: job_id in written(), "what happened to the job is logged")
    text = written()
    for secret in ("canary-question", installation.key):
        assert secret not in text
    assert len(answer) < 4 or answer not in text


def test_the_demos_answers_are_right() -> None:
    demo = files("demo")
    for name in ("weights/model.safetensors", "pictures/truths.json"):
        if not Path(str(demo / name)).exists():
            absent(f"demo/{name} is not there yet")
    truths = json.loads((demo / "pictures" / "truths.json").read_text())
    status, text = run("demo")
    assert status == 0, text
    assert f"all {len(truths)} answers are right" in text
