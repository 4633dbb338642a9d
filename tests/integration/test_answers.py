"""A picture and a question in over HTTP, the right answer out: nothing between is replaced."""

import base64
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from llava_jobs.client import Client
from llava_jobs.demo import PICTURES
from tests.eventually import eventually
from tests.installations import Installation, caller, run
from tests.integration.conftest import EXAMPLES, TRUTHS


def test_every_bundled_question_is_answered_with_the_truth_all_at_once(asker: Client) -> None:
    def submit(example: dict[str, str]) -> str:
        # Another test may have asked the same.
        fields = {"cache": "false", "detail": example.get("detail", "auto")}
        job = asker.submit(PICTURES / example["picture"], example["question"], **fields)
        return str(job["id"])

    with ThreadPoolExecutor(16) as callers:
        ids = list(callers.map(submit, EXAMPLES))
        jobs = list(callers.map(asker.wait, ids))
    assert len(set(ids)) == len(EXAMPLES)
    assert [job["answer"]["text"] for job in jobs] == [example["answer"] for example in EXAMPLES]
    assert {len(job["attempts"]) for job in jobs} == {1}


def test_a_second_turn_about_a_picture_is_answered_from_what_is_cached(
    answering: Installation, asker: Client
) -> None:
    first, second = [e for e in TRUTHS if e["picture"] == TRUTHS[0]["picture"]][:2]
    picture = (PICTURES / first["picture"]).read_bytes()
    uri = f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
    shown = {"type": "image_url", "image_url": {"url": uri}}
    messages = [
        {"role": "user", "content": [shown, {"type": "text", "text": first["question"]}]},
        {"role": "assistant", "content": first["answer"]},
        {"role": "user", "content": second["question"]},
    ]
    asker.ask(picture, first["question"])
    with caller(answering.url, answering.key) as http:
        answered = http.post("/v1/jobs", json={"messages": messages}, headers={"Prefer": "wait=60"})
    job = answered.json()
    assert answered.status_code == 200, job
    assert job["answer"]["text"] == second["answer"]
    assert job["usage"]["cached_tokens"] > 100


def test_a_picture_sent_once_is_asked_about_and_asked_on(answering: Installation) -> None:
    first, second = [e for e in TRUTHS if e["picture"] == TRUTHS[0]["picture"]][:2]
    picture = (PICTURES / first["picture"]).read_bytes()
    with caller(answering.url, answering.key) as http:
        sent = http.post("/v1/images", files={"image": picture}).json()["id"]
        asked = {"question": first["question"], "images": [{"id": sent}], "cache": False}
        held = {"Prefer": "wait=60"}
        job = http.post("/v1/jobs", json=asked, headers=held).json()
        assert job["answer"]["text"] == first["answer"]
        on = {"question": second["question"], "previous_job_id": job["id"]}
        job = http.post("/v1/jobs", json=on, headers=held).json()
    assert job["answer"]["text"] == second["answer"]
    assert job["usage"]["cached_tokens"] > 100


def test_the_command_asks_and_prints_the_answer(answering: Installation) -> None:
    example = TRUTHS[0]
    picture = str(PICTURES / example["picture"])
    status, said = run(
        *("ask", picture, example["question"], "--url", answering.url), api_key=answering.key
    )
    assert (status, said.strip()) == (0, example["answer"])


def test_the_store_is_private_and_no_secret_is_on_a_command_line(answering: Installation) -> None:
    assert "embedded store: 127.0.0.1:" in answering.text
    assert "WAITAOF" in answering.text
    url_file = answering.data_dir / "store.url"
    assert url_file.stat().st_mode & 0o077 == 0
    password = url_file.read_text().removeprefix("redis://:").partition("@")[0]
    for process in answering.family:
        assert answering.key not in process.command
        assert password not in process.command


def test_an_installation_that_is_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    running = Installation(tmp_path)
    try:
        running.ready()
        family = running.family
        os.kill(running.pid, signal.SIGKILL)
        eventually(lambda: not any(seen.lives for seen in family), "all children end")
    finally:
        running.end()
