"""The parts one by one, as a cluster runs them: a store by URL, gunicorn, and Celery workers."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from jobs.keys import Keys
from jobs.store import connect
from llava_jobs.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.gate import Gate
from tests.installations import (
    CELERY,
    GATED_CELERY,
    GUNICORN,
    Installation,
    Running,
    caller,
    ended,
    environment,
    free_port,
    run,
    submit,
)

Launch = Callable[..., Running]


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    """A store that is none of the processes' own."""
    with EmbeddedStore(tmp_path_factory.mktemp("outside")) as embedded:
        yield embedded


@pytest.fixture
def admin(outside: EmbeddedStore) -> Iterator[Any]:
    """A client of that store, which is empty."""
    client = connect(outside.url)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Starts processes and leaves none behind."""
    started: list[Running] = []

    def begin(*command: str, **settings: str) -> Running:
        started.append(Running(command, environment(**settings)))
        return started[-1]

    yield begin
    for process in started:
        process.end()


def answers(url: str) -> bool:
    """Whether an API is there."""
    try:
        return httpx.get(f"{url}/healthz", timeout=5).is_success
    except httpx.HTTPError:
        return False


@pytest.mark.usefixtures("gate")
def test_an_api_without_workers_accepts_jobs_and_a_worker_started_later_answers_them(
    launch: Launch, outside: EmbeddedStore, admin: Any, model_folder: Path, picture: bytes
) -> None:
    settings = {"redis_url": outside.url, "model": str(model_folder), "drain_seconds": "1"}
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    api = launch(*GUNICORN, "-b", f"127.0.0.1:{port}", "api:create_app()", **settings)
    eventually(lambda: answers(url), "the API answers")
    key = Keys(admin).create("acme")
    with caller(url, key) as http:
        assert http.get("/readyz").json()["status"] == "ready"
        jobs = [submit(http, picture, max_new_tokens="4")["id"] for _ in range(5)]

        worker = launch(*GATED_CELERY, **settings)

        assert {ended(http, job_id)["status"] for job_id in jobs} == {"succeeded"}
        running = submit(http, picture, max_new_tokens="4000")["id"]
        eventually(
            lambda: http.get(f"/v1/jobs/{running}").json()["status"] == "processing", "it runs"
        )
        worker.send(signal.SIGTERM)
        assert worker.status() == 0, worker.text
        assert http.get(f"/v1/jobs/{running}").json()["status"] == "queued"
        assert http.get("/v1/models").json()["data"] == []
    api.send(signal.SIGTERM)
    assert api.status() == 0, api.text


def test_a_worker_without_its_model_exits_at_once_with_one_line_and_status_78(
    launch: Launch, outside: EmbeddedStore, admin: Any, tmp_path: Path
) -> None:
    worker = launch(*CELERY, redis_url=outside.url, model=str(tmp_path / "no-model"))
    assert worker.status() == 78, worker.text
    assert "Traceback" not in worker.text
    assert worker.lines[-1].startswith("llava-jobs worker: ")
    assert "no-model" in worker.lines[-1]


def test_a_worker_without_a_store_exits_at_once_with_one_line(launch: Launch) -> None:
    worker = launch(*CELERY)
    assert worker.status() == 78, worker.text
    assert "Traceback" not in worker.text
    assert "LLAVA_JOBS_REDIS_URL" in worker.lines[-1]


def test_an_api_without_a_store_exits_and_names_the_cure(launch: Launch) -> None:
    api = launch(*GUNICORN, "-b", f"127.0.0.1:{free_port()}", "api:create_app()")
    assert api.status() != 0
    assert "LLAVA_JOBS_REDIS_URL" in api.text


def test_up_uses_a_store_by_url_and_leaves_it_running(
    outside: EmbeddedStore, admin: Any, data_dir: Path, picture: bytes
) -> None:
    installation = Installation(data_dir, "--workers", "0", redis_url=outside.url)
    try:
        installation.ready()
        with caller(installation.url, installation.key) as http:
            job_id = submit(http, picture)["id"]
        assert admin.exists(f"lj:job:{job_id}")
        assert outside.url not in installation.text
        assert not [seen for seen in installation.family if "valkey" in seen.command]
        installation.send(signal.SIGTERM)
        assert installation.status() == 0
        assert admin.ping()
    finally:
        installation.end()


@pytest.fixture
def forgetful(admin: Any) -> Iterator[None]:
    """That store without its append-only file."""
    admin.config_set("appendonly", "no")
    yield
    admin.config_set("appendonly", "yes")


@pytest.mark.usefixtures("forgetful")
def test_a_store_without_an_append_only_file_is_refused_with_the_cure(
    outside: EmbeddedStore, data_dir: Path
) -> None:
    options = ("--workers", "0", "--port", str(free_port()), "--data-dir", str(data_dir))
    status, text = run("up", *options, redis_url=outside.url)
    assert status != 0
    assert "Traceback" not in text
    [cause] = [line for line in text.splitlines() if line.startswith("llava-jobs: ")]
    assert "--appendonly yes" in cause
    assert "LLAVA_JOBS_DURABILITY=memory" in cause


@pytest.mark.usefixtures("forgetful")
def test_a_store_without_an_append_only_file_is_taken_where_that_is_meant(
    outside: EmbeddedStore, data_dir: Path, picture: bytes
) -> None:
    installation = Installation(
        data_dir, "--workers", "0", redis_url=outside.url, durability="memory"
    )
    try:
        installation.ready()
        assert "in memory only" in installation.text
        with caller(installation.url, installation.key) as http:
            assert submit(http, picture)["status"] == "queued"
    finally:
        installation.end()


def test_a_worker_that_was_stopped_past_its_lease_commits_nothing_twice(
    launch: Launch,
    outside: EmbeddedStore,
    admin: Any,
    model_folder: Path,
    picture: bytes,
    gate: Gate,
) -> None:
    settings = {
        "redis_url": outside.url,
        "model": str(model_folder),
        "lease_ms": "2000",
        "renew_ms": "200",
        "sweep_ms": "100",
        "drain_seconds": "1",
    }
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    launch(*GUNICORN, "-b", f"127.0.0.1:{port}", "api:create_app()", **settings)
    frozen = launch(*GATED_CELERY, **settings)
    eventually(lambda: answers(url), "the API answers")
    with caller(url, Keys(admin).create("acme")) as http:
        job_id = submit(http, picture, max_new_tokens="800")["id"]

        def job() -> Any:
            return http.get(f"/v1/jobs/{job_id}").json()

        eventually(lambda: job()["status"] == "processing", "it runs")
        os.kill(frozen.pid, signal.SIGSTOP)
        eventually(lambda: job()["status"] == "queued", "its lease runs out")
        gate.open()
        os.kill(frozen.pid, signal.SIGCONT)
        done = ended(http, job_id)
    assert done["status"] == "succeeded", (done, frozen.text)
    # More than one lease runs out where the machine itself holds the worker up.
    *lost, last = [attempt["outcome"] for attempt in done["attempts"]]
    assert (set(lost), last) == ({"lease_expired"}, "succeeded")
