"""What Prometheus is told is true, also of several processes, and names nobody."""

import json
import os
import re
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from api.monitoring.store_metrics import SignalMetrics
from jobs.drain import Drains
from jobs.ledger import Ledger
from jobs.signals import Signals
from jobs.store import connect
from llava_jobs.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.installations import GUNICORN, Running, environment, free_port
from tests.ledgers import ANSWER, MODEL, claimed
from tests.unit.api.conftest import Caller

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str) -> Samples:
    """Every sample of an exposition by name and labels; no two are the same."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            of = (sample.name, tuple(sorted(sample.labels.items())))
            assert of not in found, of
            found[of] = sample.value
    return found


def value(told: Samples, name: str, **labels: str) -> float:
    """The one sample of a name and labels."""
    return told[f"llava_jobs_{name}", tuple(sorted(labels.items()))]


@pytest.fixture
def scrape(app: Flask, api: Caller, client: Any) -> Any:
    """Asks for the metrics as Prometheus does; a store that is emptied keeps no reading."""
    before = app.extensions["signal_metrics"]
    fresh = Signals(client, 30_000, kept_s=0)
    app.extensions["signal_metrics"] = SignalMetrics(fresh, promises_disk=True)
    yield lambda: samples(app.test_client().get("/metrics").text)
    app.extensions["signal_metrics"] = before


def test_jobs_and_workers_are_told_as_the_store_has_them(
    api: Caller, books: Ledger, scrape: Any
) -> None:
    books.renew("w1", MODEL, {"slots": 8}, {})
    api.submit(priority="high", cache=False)
    api.submit(cache=False)
    claim = claimed(books)
    told = scrape()
    assert value(told, "queued_jobs", model=MODEL, priority="normal") == 1
    assert value(told, "queued_jobs", model=MODEL, priority="high") == 0
    assert value(told, "running_jobs", model=MODEL) == 1
    assert value(told, "ready_workers", model=MODEL) == 1
    assert value(told, "worker_slots", model=MODEL) == 8
    assert 0 <= value(told, "oldest_queued_age_seconds", model=MODEL) < 60
    assert 0 <= value(told, "last_claim_age_seconds", model=MODEL) < 60
    books.finish(claim, ANSWER)
    ended = {"model": MODEL, "status": "succeeded", "reason": "none"}
    assert value(scrape(), "ended_jobs_total", **ended) == 1


def test_a_worker_that_is_given_no_jobs_is_not_ready(
    client: Any, books: Ledger, scrape: Any
) -> None:
    for name in ("w1", "w2"):
        books.renew(name, MODEL, {"slots": 8}, {})
    Drains(client, books.scripts).drain("w1")
    told = scrape()
    assert value(told, "ready_workers", model=MODEL) == 1
    assert value(told, "drained_workers", model=MODEL) == 1
    assert value(told, "worker_slots", model=MODEL) == 8


def test_the_store_is_told_of(client: Any, scrape: Any) -> None:
    told = scrape()
    assert value(told, "store_up") == 1
    assert value(told, "store_durable") == 1
    assert value(told, "store_memory_bytes") > 0
    most = int(client.config_get("maxmemory")["maxmemory"])
    assert value(told, "store_memory_limit_bytes") == most


def test_an_installation_that_keeps_jobs_in_memory_has_no_durability_to_tell(
    app: Flask, client: Any, scrape: Any
) -> None:
    signals = Signals(client, 30_000)
    app.extensions["signal_metrics"] = SignalMetrics(signals, promises_disk=False)
    assert not [name for name, _ in scrape() if "durable" in name]


def test_a_store_that_is_away_is_a_metric_and_no_failure(app: Flask, scrape: Any) -> None:
    away = Signals(connect(f"redis://127.0.0.1:{free_port()}"), 30_000)
    app.extensions["signal_metrics"] = SignalMetrics(away, promises_disk=True)
    told = scrape()
    assert value(told, "store_up") == 0
    assert not [name for name, _ in told if "queued" in name]


def test_a_request_is_counted_by_its_route_and_never_by_its_path(api: Caller, scrape: Any) -> None:
    before: Samples = scrape()
    api("GET", "/v1/jobs/canary-id")
    api("GET", "/canary")
    api("CANARY", "/v1/jobs")
    api("DELETE", "/healthz")
    after: Samples = scrape()

    def more(**labels: str) -> float:
        of = ("llava_jobs_http_requests_total", tuple(sorted(labels.items())))
        return after[of] - before.get(of, 0)

    assert more(route="/v1/jobs/<job_id>", method="GET", status="404") == 1
    assert more(route="none", method="GET", status="404") == 1
    assert more(route="none", method="OTHER", status="405") == 1
    assert more(route="none", method="DELETE", status="405") == 1
    assert not re.search("(?i)canary", str(after))


def test_no_tenant_group_or_key_is_a_label(api: Caller, stranger: Caller, scrape: Any) -> None:
    job_id = api.submit(group="canary-group", metadata={"canary": "canary"})
    stranger.submit()
    text = str(scrape())
    for secret in ("acme", "other", "canary", job_id, api.key, api.key.split("_")[1]):
        assert secret not in text


@pytest.fixture
def server(store: EmbeddedStore, client: Any) -> Iterator[tuple[Running, str]]:
    """The API under gunicorn as two processes, and its URL."""
    port = free_port()
    command = [*GUNICORN, "-w", "2", "-b", f"127.0.0.1:{port}", "api:create_app()"]
    running = Running(command, environment(redis_url=store.url))
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    try:
        eventually(answers, "the API answers")
        eventually(lambda: len(_processes(running)) == 2, "both processes")
        yield running, url
    finally:
        running.end()


def _processes(server: Running) -> list[int]:
    return [seen.pid for seen in server.family if seen.parent == server.pid]


def _asked(url: str) -> float:
    told = samples(httpx.get(f"{url}/metrics").text)
    of = {"route": "/v1/models", "method": "GET", "status": "401"}
    return told.get(("llava_jobs_http_requests_total", tuple(sorted(of.items()))), 0)


def test_several_processes_count_as_one_also_those_that_have_ended(
    server: tuple[Running, str],
) -> None:
    running, url = server
    for _ in range(40):
        httpx.get(f"{url}/v1/models")  # each over a connection of its own
    assert {_asked(url) for _ in range(10)} == {40}, "whichever process is asked"

    first, second = _processes(running)
    for pid in (first, second):
        os.kill(pid, signal.SIGTERM)
    eventually(lambda: not set(_processes(running)) & {first, second}, "others took over")
    eventually(lambda: len(_processes(running)) == 2, "others took over")
    assert _asked(url) == 40
    of_gunicorn = [json.loads(line) for line in running.lines[1:]]
    assert {line.get("logger") for line in of_gunicorn} == {"gunicorn.error", None}
