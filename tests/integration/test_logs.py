"""What happened to a job is found by its id, in the API's log and in the worker's."""

import json
import secrets
import socket
from pathlib import Path
from typing import Any

import httpx

from tests.eventually import eventually
from tests.installations import Installation, ended, submit


def lines_about(job_id: str, log: Path) -> dict[str, dict[str, Any]]:
    """The lines that name a job, by what they tell."""
    told = [line for line in log.read_text(errors="replace").splitlines() if job_id in line]
    return {line["event"]: line for line in map(json.loads, told)}


def test_both_sides_say_whose_job_it_is_and_which_trace(
    installation: Installation, http: httpx.Client, picture: bytes
) -> None:
    trace = secrets.token_hex(16)
    http.headers["traceparent"] = f"00-{trace}-00f067aa0ba902b7-00"
    job_id = submit(http, picture, max_new_tokens="4")["id"]
    ended(http, job_id)

    api, worker = (installation.data_dir / name for name in ("api.log", "worker-1.log"))
    eventually(lambda: "job_finished" in lines_about(job_id, worker), "its end is logged")
    asked, finished = (
        lines_about(job_id, api)["request"],
        lines_about(job_id, worker)["job_finished"],
    )
    of_the_job = {"job": job_id, "tenant": "default", "trace": trace}
    assert of_the_job.items() <= asked.items()
    assert of_the_job.items() <= finished.items()
    assert finished["attempt"] == 1
    assert finished["worker"]
    assert (finished["status"], finished["level"]) == ("succeeded", "info")


def test_a_request_that_cannot_be_read_is_logged_under_nobodys_name(
    installation: Installation, http: httpx.Client, picture: bytes
) -> None:
    log = installation.data_dir / "api.log"
    before = len(log.read_text(errors="replace"))
    address = (http.base_url.host, http.base_url.port)
    for _ in range(4):
        job_id = submit(http, picture, max_new_tokens="1")["id"]
        with socket.create_connection(address, timeout=30) as caller:
            caller.sendall(b"GET / HTTP/1.1\r\nno header\r\n\r\n")
            assert b" 400 " in caller.recv(4096)
        ended(http, job_id)

    def unread() -> list[dict[str, Any]]:
        told = log.read_text(errors="replace")[before:].splitlines()
        return [json.loads(line) for line in told if "that cannot be read" in line]

    eventually(lambda: len(unread()) == 4, "each is logged")
    for line in unread():
        assert not {"tenant", "job", "trace", "request"} & set(line)
