"""A real worker process is drained and resumed over HTTP, while another takes its work."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from jobs.keys import Keys, Scope
from jobs.store import connect
from llava_jobs.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.gate import Gate
from tests.installations import (
    CELERY,
    GATED_CELERY,
    GUNICORN,
    Running,
    caller,
    ended,
    environment,
    free_port,
    submit,
)


class Fleet:
    """An API and workers of one store, their keys, and what an operator sees of them."""

    def __init__(self, store: EmbeddedStore, model_folder: Path) -> None:
        self._settings = environment(
            redis_url=store.url,
            model=str(model_folder),
            slots="2",
            renew_ms="200",
            sweep_ms="100",
            drain_seconds="1",
        )
        self._running: list[Running] = []
        client = connect(store.url)
        self.key = Keys(client).create("acme", scopes=list(Scope))
        client.close()
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.start(*GUNICORN, "-b", f"127.0.0.1:{port}", "api:create_app()")

    def start(self, *command: str) -> Running:
        """Start one of its processes."""
        self._running.append(Running(command, self._settings))
        return self._running[-1]

    def end(self) -> None:
        """Leave none behind."""
        for process in self._running:
            process.end()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Iterator[Fleet]:
    """An API without workers yet."""
    with EmbeddedStore(tmp_path_factory.mktemp("fleet")) as store:
        made = Fleet(store, model_folder)
        try:
            yield made
        finally:
            made.end()


@pytest.fixture(scope="module")
def worker(fleet: Fleet) -> Running:
    """A worker process, whose answers wait where the gate is closed."""
    return fleet.start(*GATED_CELERY)


def workers(http: httpx.Client) -> dict[str, dict[str, Any]]:
    """The live workers by name."""
    try:
        return {w["name"]: w for w in http.get("/v1/admin/workers").json()["data"]}
    except httpx.HTTPError:
        return {}


def test_a_drained_worker_finishes_what_it_has_and_stays_until_it_is_resumed(
    fleet: Fleet, worker: Running, gate: Gate, picture: bytes
) -> None:
    with caller(fleet.url, fleet.key) as http:
        eventually(lambda: workers(http), "it is there")
        [name] = workers(http)

        def state() -> Any:
            return workers(http).get(name, {}).get("state")

        first = submit(http, picture, max_new_tokens="300")["id"]
        eventually(lambda: workers(http)[name]["slots_used"] == 1, "it has the job")
        assert http.post(f"/v1/admin/workers/{name}/drain", json={}).json()["state"] == "draining"
        second = submit(http, picture, max_new_tokens="8")["id"]
        gate.open()
        assert ended(http, first)["status"] == "succeeded"
        eventually(lambda: state() == "drained", "it holds nothing")
        assert http.get(f"/v1/jobs/{second}").json()["status"] == "queued"

        other = fleet.start(*CELERY)
        assert ended(http, second)["status"] == "succeeded"
        assert http.get(f"/v1/jobs/{second}").json()["attempts"][0]["worker"] != name
        assert not worker.ended, worker.text
        assert state() == "drained"

        other.end()
        third = submit(http, picture, max_new_tokens="8")["id"]
        assert http.post(f"/v1/admin/workers/{name}/resume").json()["state"] == "ready"
        assert ended(http, third)["attempts"][0]["worker"] == name


def test_a_worker_that_is_to_hand_back_does_and_stops_when_it_is_told_to(
    fleet: Fleet, worker: Running, gate: Gate, picture: bytes
) -> None:
    with caller(fleet.url, fleet.key) as http:
        eventually(lambda: workers(http), "it is there")
        [name] = workers(http)
        job = submit(http, picture, max_new_tokens="4000")["id"]
        eventually(lambda: workers(http)[name]["slots_used"] == 1, "it has the job")
        http.post(f"/v1/admin/workers/{name}/drain", json={"hand_back": True})
        eventually(lambda: workers(http)[name]["state"] == "drained", "it holds nothing")
        found = http.get(f"/v1/jobs/{job}").json()
        assert (found["status"], found["attempts"][0]["outcome"]) == ("queued", "handed_back")
        worker.send(signal.SIGTERM)
        assert worker.status() == 0, worker.text
