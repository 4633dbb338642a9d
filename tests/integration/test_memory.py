"""What an API takes of the machine's memory while many send it long requests at once."""

import base64
import contextlib
import json
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from PIL import Image

from jobs.keys import Keys
from jobs.store import connect
from llava_jobs.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.installations import GUNICORN, Running, caller, environment, free_port
from tests.unit.api.pictures import encoded

AT_ONCE = 32
MOST_MB = 500
SIDE = 2_740
"""Of a picture of noise, whose body is 30 MB as JSON."""


class Peak:
    """The most memory that a process and its children have had, in MB; shared pages count once."""

    def __init__(self, running: Running) -> None:
        self.megabytes = 0.0
        self._running = running
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look)

    def __enter__(self) -> "Peak":
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._over.wait(0.02):
            family = [self._running.pid, *(seen.pid for seen in self._running.family)]
            self.megabytes = max(self.megabytes, sum(map(proportional_mb, family)))


def proportional_mb(pid: int) -> float:
    """The memory of a process, of pages that it shares a part."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


@pytest.fixture(scope="module")
def long_body() -> bytes:
    """A job of 30 MB: the most that a picture can take of memory beside its file."""
    noise = random.Random(1).randbytes(SIDE * SIDE * 3)
    picture = encoded(Image.frombytes("RGB", (SIDE, SIDE), noise), "PNG", compress_level=1)
    data = base64.b64encode(picture).decode()
    body = json.dumps({"question": "What is it?", "images": [{"data": data}]}).encode()
    assert 30_000_000 < len(body) < 31_000_000
    return body


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    """A store of its own."""
    with EmbeddedStore(tmp_path) as embedded:
        yield embedded


def test_long_bodies_of_many_at_once_wait_or_are_refused_and_memory_stays_bounded(
    store: EmbeddedStore, long_body: bytes
) -> None:
    client = connect(store.url)
    keys = [Keys(client).create(tenant) for tenant in ("a", "b")]
    client.close()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    api = Running(
        [*GUNICORN, "-b", f"127.0.0.1:{port}", "api:create_app()"],
        environment(redis_url=store.url),
    )

    def send(number: int) -> httpx.Response:
        headers = {"Content-Type": "application/json"}
        with caller(url, keys[number % 2]) as http:
            return http.post("/v1/jobs", content=long_body, headers=headers, timeout=280)

    try:
        eventually(lambda: answers(url), "the API answers", 90)
        with Peak(api) as peak, ThreadPoolExecutor(AT_ONCE) as threads:
            responses = list(threads.map(send, range(AT_ONCE)))
    finally:
        api.end()
    statuses = {response.status_code for response in responses}
    assert 202 in statuses
    assert statuses <= {202, 429, 503}
    assert all(r.headers["Retry-After"] for r in responses if r.status_code != 202)
    assert peak.megabytes < MOST_MB


def answers(url: str) -> bool:
    """Whether an API is there."""
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/healthz", timeout=5).is_success
    return False
