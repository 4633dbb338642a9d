"""A plain Celery worker: one job at a time, the picture in the message, results polled by id."""

from __future__ import annotations

import base64
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import redis
from celery import Celery

from bench.callers import Clock
from bench.measured import Done, Measured, Run
from bench.processes import ProcessorTime, server
from bench.workload import Question
from llava_jobs.embedded import EmbeddedStore

NAME = "plain Celery"
_TASK = "bench.answer"
_POLL_S = 0.005


def __getattr__(name: str) -> Any:
    # Celery looks for this attribute in a worker; importing the module reads no environment.
    if name == "celery":
        import os

        return _worker(os.environ["BENCH_STORE"], Path(os.environ["BENCH_MODEL"]))
    raise AttributeError(name)


@contextmanager
def celery_plain(model: Path) -> Iterator[Run]:
    """Answer through an embedded store and a worker process of its own."""
    command = "celery --quiet -A bench.celery_plain worker --pool solo --loglevel WARNING"
    with (
        tempfile.TemporaryDirectory(prefix="bench-celery-") as folder,
        EmbeddedStore(Path(folder)) as store,
    ):
        app = _app(store.url)
        client = redis.Redis.from_url(store.url)
        env = {"BENCH_STORE": store.url, "BENCH_MODEL": str(model)}
        log = Path(folder) / "celery.log"
        with server(command.split(), env, log, lambda: bool(client.exists("ready"))):
            yield lambda *arguments: _run(app, *arguments)
        client.close()
        app.close()


def _run(app: Celery, questions: Sequence[Question], in_flight: int, done: Done) -> Measured:
    """Keep `in_flight` tasks submitted; one worker answers in order, so the oldest is polled."""
    pending: deque[tuple[float, Any]] = deque()
    latencies: list[float] = []
    answers: list[str] = []
    left = deque(questions)
    time_taken = ProcessorTime({"worker": "celery", "store": "valkey"})
    clock = Clock()
    while left or pending:
        if left and len(pending) < in_flight and (not pending or left[0].arrives <= clock.now):
            question = left.popleft()
            began = clock.await_arrival(question)
            pending.append((began, _submit(app, question)))
        elif pending[0][1].ready():
            began, result = pending.popleft()
            answers.append(result.get())
            latencies.append(clock.now - began)
            done()
        else:
            time.sleep(_POLL_S)
    return Measured(NAME, clock.now, latencies, answers, cpu=time_taken.so_far())


def _submit(app: Celery, question: Question) -> Any:
    picture = base64.b64encode(question.picture).decode()
    return app.send_task(_TASK, (picture, question.text, question.max_new_tokens))


def _app(store: str) -> Celery:
    return Celery("bench", broker=store, backend=store, set_as_current=False)


@cache
def _worker(store: str, model: Path) -> Celery:
    from bench.generating import Generating
    from bench.processes import share_cores

    share_cores()
    app = _app(store)
    app.conf.worker_prefetch_multiplier = 1
    generating = Generating.load(model)

    @app.task(name=_TASK)
    def answer(picture: str, text: str, max_new_tokens: int) -> str:
        """Answer one question about a picture in base64."""
        question = Question(base64.b64decode(picture), text, max_new_tokens)
        return generating.answer([question])[0]

    redis.Redis.from_url(store).set("ready", 1)
    return app
