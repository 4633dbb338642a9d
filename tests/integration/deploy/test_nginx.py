"""nginx with the shipped configuration, before the API as the compose file starts it."""

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from jobs.settings import Settings
from tests.eventually import eventually
from tests.gate import Gate
from tests.installations import caller, ended, free_port, submit
from tests.integration.deploy.conftest import MAX_FILE_BYTES, Shipped, nginx_command
from tests.integration.test_streaming import followed, until_text
from tests.sse import text_of

LONG = {"max_new_tokens": "1500"}
LIMIT = int(Settings.model_fields["max_body_bytes"].default)


def test_it_takes_its_configuration(tmp_path: Path) -> None:
    command = nginx_command(tmp_path / "nginx", listen=free_port(), api=free_port())
    ran = subprocess.run([*command, "-t"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "[warn]" not in ran.stderr
    assert "[emerg]" not in ran.stderr


def test_a_job_goes_through_and_comes_back(http: httpx.Client, picture: bytes) -> None:
    job_id = submit(http, picture, max_new_tokens="4")["id"]
    job = ended(http, job_id)
    assert job["status"] == "succeeded"
    again = http.get(f"/v1/jobs/{job_id}")
    not_modified = http.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": again.headers["ETag"]})
    assert not_modified.status_code == 304


def test_a_stream_is_heard_while_it_grows(http: httpx.Client, gate: Gate, picture: bytes) -> None:
    job_id = submit(http, picture, **LONG)["id"]
    with followed(http, job_id) as told:
        seen = until_text(told)
        # Kept back, the first words would come with the last.
        assert http.get(f"/v1/jobs/{job_id}").json()["status"] == "processing"
        gate.open()
        seen += told
    assert text_of(seen) == http.get(f"/v1/jobs/{job_id}").json()["answer"]["text"]


@pytest.mark.usefixtures("gate")
def test_a_caller_that_hangs_up_is_seen_to_have_gone(
    http: httpx.Client, shipped: Shipped, picture: bytes
) -> None:
    job_id = submit(http, picture, max_new_tokens="4000")["id"]
    for _ in range(2):  # as many as one tenant may hold open at a time
        stream = http.send(http.build_request("GET", f"/v1/jobs/{job_id}/stream"), stream=True)
        assert stream.status_code == 200
        stream.close()
    eventually(lambda: _can_follow(http, job_id), "a place is free again")
    http.post(f"/v1/jobs/{job_id}/cancel")
    ended(http, job_id)


@pytest.mark.usefixtures("gate")
def test_an_answer_is_held_back_as_long_as_its_caller_prefers(
    http: httpx.Client, picture: bytes
) -> None:
    job_id = submit(http, picture, max_new_tokens="4000")["id"]
    waited = http.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=3"})
    assert waited.json()["status"] in {"queued", "processing"}
    assert waited.elapsed.total_seconds() >= 3
    http.post(f"/v1/jobs/{job_id}/cancel")
    held = http.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=60"})
    assert held.json()["status"] == "canceled"


def test_who_tries_keys_at_one_address_keeps_nobody_at_another_out(shipped: Shipped) -> None:
    def tries(address: str) -> int:
        transport = httpx.HTTPTransport(local_address=address)
        with httpx.Client(base_url=shipped.url, transport=transport) as http:
            ours = {"Origin": shipped.url}
            return http.post("/sign-in", data={"key": "none"}, headers=ours).status_code

    # Far more than a minute's share, as some of it comes back meanwhile.
    many = 4 * int(Settings.model_fields["sign_ins_per_minute"].default)
    with ThreadPoolExecutor(8) as callers:
        assert 429 in set(callers.map(tries, ["127.0.0.2"] * many))
    assert tries("127.0.0.3") == 401


def test_a_body_that_is_too_large_is_refused_in_the_words_of_the_api(
    http: httpx.Client, shipped: Shipped
) -> None:
    headers = {"Content-Type": "application/json"}
    too_much = b" " * (LIMIT + 1)
    refused = http.post("/v1/jobs", content=too_much, headers=headers)
    with caller(shipped.api_url, shipped.key) as direct:
        by_api = direct.post("/v1/jobs", content=too_much, headers=headers)
    assert refused.status_code == by_api.status_code == 413
    for answer in (refused, by_api):
        assert answer.headers["Content-Type"] == "application/problem+json"
    ours, theirs = refused.json(), by_api.json()
    for words in (ours, theirs, ours["error"], theirs["error"]):
        words.pop("detail", None)
        words.pop("message", None)
    assert ours == theirs


def test_a_body_as_large_as_may_be_comes_to_the_api(http: httpx.Client) -> None:
    answer = http.post(
        "/v1/jobs", content=b" " * LIMIT, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400


def test_links_are_as_the_caller_called(http: httpx.Client, picture: bytes) -> None:
    fields = {"data": {"question": "?", "max_new_tokens": "2"}, "files": {"image": picture}}
    plain = http.post("/v1/jobs", **fields)  # type: ignore[arg-type]
    job_id = plain.json()["id"]
    assert plain.headers["Operation-Location"] == f"{http.base_url}/v1/jobs/{job_id}".replace(
        "//v1", "/v1"
    )
    behind_tls = http.post(
        "/v1/jobs",
        headers={"X-Forwarded-Proto": "https", "Host": "jobs.example.com"},
        **fields,  # type: ignore[arg-type]
    )
    location = behind_tls.headers["Operation-Location"]
    assert location.startswith("https://jobs.example.com/v1/jobs/")
    odd = {"X-Forwarded-Proto": "gopher", "X-Forwarded-Ssl": "on", "X-Forwarded-Protocol": "ssl"}
    told_lies = http.post("/v1/jobs", headers=odd, **fields)  # type: ignore[arg-type]
    assert told_lies.headers["Operation-Location"].startswith("http://127.0.0.1")


def test_each_call_has_an_id_of_nginxs_own_in_its_answer_and_both_logs_and_no_query(
    http: httpx.Client, shipped: Shipped
) -> None:
    answer = http.get("/v1/jobs?group=canary-7", headers={"X-Request-ID": "canary-8"})
    request = answer.headers["X-Request-ID"]
    assert len(request) == 32
    [line] = eventually(
        lambda: [line for line in shipped.logged() if line["request"] == request], "it is logged"
    )
    assert (line["method"], line["path"], line["status"]) == ("GET", "/v1/jobs", 200)
    by_api = eventually(
        lambda: [line for line in shipped.running["api"].lines if request in line], "by the API"
    )
    assert json.loads(by_api[0])["event"] == "request"
    assert "canary" not in (shipped.folder / "nginx" / "stdout").read_text()


def test_a_file_may_be_as_large_as_the_apis_setting_says_and_no_larger(
    http: httpx.Client, shipped: Shipped
) -> None:
    line = json.dumps({"custom_id": "x" * 50_000}).encode() + b"\n"
    fits = line * ((MAX_FILE_BYTES - 4096) // len(line))
    assert len(fits) > LIMIT
    kept = _upload(http, fits)
    assert kept.status_code == 200, kept.text
    assert kept.json()["bytes"] == len(fits)
    http.delete(f"/v1/files/{kept.json()['id']}").raise_for_status()
    for _ in range(5):  # each is answered while it is still being sent
        refused = _upload(http, fits + b" " * 2**23)
        assert refused.status_code == 413, (shipped.folder / "nginx" / "stderr").read_text()
        assert refused.json()["error"]["code"] == "file_too_large"


def _upload(http: httpx.Client, file: bytes) -> httpx.Response:
    files = {"file": ("batch.jsonl", file)}
    return http.post("/v1/files", data={"purpose": "batch"}, files=files)


def _can_follow(http: httpx.Client, job_id: str) -> bool:
    with http.stream("GET", f"/v1/jobs/{job_id}/stream") as response:
        return response.status_code == 200
