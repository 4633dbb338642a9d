"""LitServe: a well-known model server that batches requests, around the same `generate`."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from bench.callers import call
from bench.measured import Done, Measured, Run
from bench.processes import ProcessorTime, server
from bench.workload import Question
from llava_jobs.embedded import free_port

NAME = "LitServe"
ANSWER_TIMEOUT_S = 600


@contextmanager
def litserve(model: Path, batch: int) -> Iterator[Run]:
    """Answer through a LitServe process that forms batches of up to `batch`."""
    port = free_port()
    with (
        tempfile.TemporaryDirectory(prefix="bench-litserve-") as folder,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=ANSWER_TIMEOUT_S) as client,
    ):
        command = ["bench.litserve_serving", *("--model", str(model)), *("--port", str(port))]
        log = Path(folder) / "litserve.log"
        with server([*command, "--batch", str(batch)], {}, log, lambda: _healthy(client)):
            yield lambda *arguments: _run(client, *arguments)


def _healthy(client: httpx.Client) -> bool:
    try:
        return client.get("/health").is_success
    except httpx.HTTPError:
        return False


def _run(
    client: httpx.Client, questions: Sequence[Question], in_flight: int, done: Done
) -> Measured:
    def answer(question: Question) -> str:
        picture = base64.b64encode(question.picture).decode()
        body = {"picture": picture, "text": question.text, "tokens": question.max_new_tokens}
        return str(client.post("/predict", json=body).raise_for_status().json()["answer"])

    time = ProcessorTime({"server": "litserve_serving"})
    calls = call(questions, in_flight, answer, done)
    return Measured(NAME, calls.seconds, calls.latencies, calls.replies, cpu=time.so_far())
