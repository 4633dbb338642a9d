"""This system, as its users see it: HTTP in, HTTP out, the store and a worker behind it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from bench.measured import Measured
from bench.workload import Question
from jobs.settings import Settings
from llava_jobs.client import Client, JobFailed
from llava_jobs.embedded import free_port
from llava_jobs.up import Plan, Up


@contextmanager
def installation(model: str, slots: int) -> Iterator[Client]:
    """A private installation with one worker, ready, and a client with its key."""
    with tempfile.TemporaryDirectory(prefix="llava-jobs-bench-") as folder:
        settings = Settings(model=model, slots=slots, redis_url=None, bootstrap_key=None)
        up = Up(Plan("127.0.0.1", free_port(), Path(folder), 1, settings), lambda _: None)
        with up.running():
            up.await_ready()
            with Client(up.url, up.first_key or "") as client:
                yield client


def run_system(
    client: Client,
    questions: Sequence[Question],
    max_new_tokens: int,
    in_flight: int,
    done: Callable[[], object],
) -> Measured:
    """Answer the questions with ``in_flight`` of them under way; latency is from POST to answer."""

    def answer(question: Question) -> tuple[str, float]:
        began = time.perf_counter()
        job = client.submit(
            question.picture, question.text, max_new_tokens=str(max_new_tokens), cache="false"
        )
        job = client.wait(job["id"])
        if job["status"] != "succeeded":
            raise JobFailed(job)
        done()
        return str(job["answer"]["text"]).strip(), time.perf_counter() - began

    answer(questions[0])
    with ThreadPoolExecutor(in_flight) as callers:
        started = time.perf_counter()
        found = list(callers.map(answer, questions))
        seconds = time.perf_counter() - started
    name = f"llava-jobs, {in_flight} in flight"
    return Measured(name, seconds, [f[1] for f in found], [f[0] for f in found])
