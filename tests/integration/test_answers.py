"""A picture and a question in over HTTP, the right answer out: nothing between is replaced."""

import base64
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from llava_jobs.demo import PICTURES
from tests.eventually import eventually
from tests.integration.installations import TRUTHS, Installation, command, submit

MEMBERS = {
    "id", "status", "status_reason", "model", "question", "answer", "error", "created_at",
    "started_at", "finished_at", "expires_at", "queue", "attempts", "usage", "timing",
    "deduplicated_from", "group", "metadata", "webhook_status", "links",
}  # fmt: skip


def test_every_bundled_question_is_answered_with_the_truth_all_at_once(
    installation: Installation,
) -> None:
    with installation.client() as client, ThreadPoolExecutor(16) as callers:
        jobs = list(callers.map(lambda example: submit(client, example), TRUTHS))
        ended = list(callers.map(lambda job: client.wait(job["id"]), jobs))
    assert len({job["id"] for job in jobs}) == len(TRUTHS)
    answers = [job["answer"]["text"] for job in ended]
    assert answers == [example["answer"] for example in TRUTHS]
    assert {len(job["attempts"]) for job in ended} == {1}


def test_a_finished_job_has_every_member_of_the_contract(installation: Installation) -> None:
    with installation.client() as client:
        job = client.wait(submit(client, TRUTHS[0], group="ticket-1", metadata='{"a": 1}')["id"])
    assert set(job) >= MEMBERS
    assert (job["status"], job["error"], job["queue"]) == ("succeeded", None, None)
    assert (job["group"], job["metadata"]) == ("ticket-1", {"a": 1})
    assert job["attempts"][0]["outcome"] == "succeeded"
    assert job["usage"]["prompt_tokens"] > job["usage"]["completion_tokens"] > 0
    assert set(job["timing"]) == {"queue_ms", "preprocess_ms", "vision_ms", "generate_ms"}
    moments = [job[name] for name in ("created_at", "started_at", "finished_at", "expires_at")]
    assert moments == sorted(moments)
    assert datetime.fromisoformat(moments[0]).tzinfo is not None


def test_a_second_turn_about_a_picture_is_answered_from_what_is_cached(
    installation: Installation,
) -> None:
    first, second = [e for e in TRUTHS if e["picture"] == TRUTHS[0]["picture"]][:2]
    picture = base64.b64encode((PICTURES / first["picture"]).read_bytes()).decode()
    shown = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{picture}"}}
    messages = [
        {"role": "user", "content": [shown, {"type": "text", "text": first["question"]}]},
        {"role": "assistant", "content": first["answer"]},
        {"role": "user", "content": second["question"]},
    ]
    with installation.client() as client, installation.http() as http:
        client.ask(PICTURES / first["picture"], first["question"])
        answered = http.post("/v1/jobs", json={"messages": messages}, headers={"Prefer": "wait=60"})
    job = answered.json()
    assert answered.status_code == 200, job
    assert job["answer"]["text"] == second["answer"]
    assert job["usage"]["cached_tokens"] > 100


def test_a_poller_that_has_the_job_as_it_is_gets_304(installation: Installation) -> None:
    with installation.client() as client, installation.http() as http:
        job = client.wait(submit(client, TRUTHS[0])["id"])
        first = http.get(job["links"]["self"])
        again = http.get(job["links"]["self"], headers={"If-None-Match": first.headers["ETag"]})
    assert "Retry-After" not in first.headers
    assert (again.status_code, again.content) == (304, b"")


def test_a_running_job_is_canceled_with_a_receipt(installation: Installation) -> None:
    with installation.client() as client, installation.http() as http:
        ids = [submit(client, TRUTHS[0])["id"] for _ in range(30)]
        canceled = http.post(f"/v1/jobs/{ids[-1]}/cancel").json()
        job = client.wait(ids[-1])
        others = [client.wait(job_id)["status"] for job_id in ids[:-1]]
    assert canceled["cancel_requested_at"] or canceled["status"] == "succeeded"
    assert job["status"] in {"canceled", "succeeded"}
    if job["status"] == "canceled":
        assert job["compute_stopped_at"] >= job["cancel_requested_at"]
    assert set(others) == {"succeeded"}


def test_the_command_asks_and_prints_the_answer(installation: Installation) -> None:
    example = TRUTHS[0]
    asked = command(
        "ask",
        str(PICTURES / example["picture"]),
        example["question"],
        "--url",
        installation.url,
        LLAVA_JOBS_API_KEY=installation.key,
    )
    assert (asked.stdout, asked.returncode) == (f"{example['answer']}\n", 0), asked.stderr


def test_the_store_is_private_and_durable(installation: Installation) -> None:
    said = installation.said()
    assert "embedded store: 127.0.0.1:" in said
    assert "WAITAOF" in said
    server = eventually(lambda: installation.children("valkey-server"), "a valkey-server")[0]
    listening = {c.laddr.ip for c in server.net_connections() if c.status == "LISTEN"}
    assert listening == {"127.0.0.1"}
    folder = installation.output.parent
    assert (folder / "store.url").stat().st_mode & 0o077 == 0
    secrets = [installation.key, (folder / "store.url").read_text().split("@")[0][8:]]
    for child in installation.children():
        assert not any(secret in " ".join(child.cmdline()) for secret in secrets)
