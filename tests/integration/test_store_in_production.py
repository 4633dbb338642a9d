"""API and worker over a store as operators run it: behind Sentinel, and over TLS."""

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx

from jobs.keys import Keys
from jobs.store import connect
from tests.eventually import eventually
from tests.installations import (
    CELERY,
    GUNICORN,
    Running,
    caller,
    environment,
    free_port,
    submit,
)
from tests.stores import watched


@contextlib.contextmanager
def serving(
    of_api: dict[str, str], of_worker: dict[str, str]
) -> Iterator[tuple[str, Running, Running]]:
    """Run an API and a worker in such environments: (URL, API, worker), once a job is answered."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    api = Running([*GUNICORN, "-b", f"127.0.0.1:{port}", "api:create_app()"], of_api)
    worker = Running(CELERY, of_worker)
    try:
        eventually(lambda: _is_ready(url), "a worker is ready")
        yield url, api, worker
    finally:
        worker.end()
        api.end()


def test_every_job_that_was_accepted_ends_though_the_leading_server_dies(
    redis_server: Path, tmp_path: Path, model_folder: Path, picture: bytes
) -> None:
    with watched(redis_server, tmp_path, tls=True) as (store, leader):
        settings = environment(
            redis_url=store,
            durable_replicas="1",
            model=str(model_folder),
            drain_seconds="1",
            lease_ms="3000",
            renew_ms="300",
            sweep_ms="100",
        )
        with contextlib.closing(connect(store)) as client:
            key = Keys(client, durability="always", replicas=1).create("acme")
        with serving(settings, settings) as (url, api, worker), caller(url, key) as http:
            accepted = [submit(http, picture, max_new_tokens="8")["id"] for _ in range(6)]
            leader.kill()
            for job_id in accepted:
                eventually(partial(_has_succeeded, http, job_id), "a job succeeds")
            leader.start()  # which follows now: two servers must have what is accepted
            later = eventually(lambda: _accepted(http, picture), "jobs are accepted again")
            eventually(partial(_has_succeeded, http, later), "that job succeeds, too")
            assert not api.ended
            assert not worker.ended


def _is_ready(url: str) -> bool:
    try:
        workers = httpx.get(f"{url}/readyz", timeout=5).json().get("workers", {})
    except httpx.HTTPError:
        return False
    return any(workers.values())


def _accepted(http: httpx.Client, picture: bytes) -> str:
    answer = http.post("/v1/jobs", data={"question": "?"}, files={"image": picture})
    return str(answer.json()["id"]) if answer.status_code == 202 else ""


def _has_succeeded(http: httpx.Client, job_id: str) -> bool:
    answer = http.get(f"/v1/jobs/{job_id}")
    return answer.is_success and answer.json()["status"] == "succeeded"
