"""This system, as its users see it: HTTP in, HTTP out, the store and a worker behind it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench.callers import call
from bench.measured import Done, Measured, Run
from bench.processes import cpu_by_role
from bench.workload import Question
from jobs.settings import Settings
from llava_jobs.client import Client, JobFailed
from llava_jobs.embedded import free_port
from llava_jobs.up import Plan, Up

NAME = "llava-jobs"
ROLES = {"pictures": "api.decoding", "api": "gunicorn", "worker": "celery", "store": "valkey"}
"""Roles of processes, by a word of their commands; ``pictures`` are those that check pictures."""
REST = "rest"
"""What a job's own timing leaves: HTTP, ledger, hint, and waiting for a place in the batch."""


@contextmanager
def system(model: Path, slots: int, **settings: str) -> Iterator[Run]:
    """Answer through a private installation with one worker; `settings` are further ones."""
    with installation(model, slots, **settings) as client:
        yield lambda *arguments: run_system(client, *arguments)


@contextmanager
def installation(model: Path, slots: int, **settings: str) -> Iterator[Client]:
    """A private installation with one worker, ready, and a client with its key."""
    ours = {"slots": str(slots), **settings}
    env = {f"LLAVA_JOBS_{name.upper()}": value for name, value in ours.items()}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, patch.dict(os.environ, env):
        chosen = Settings(model=str(model), redis_url=None, bootstrap_key=None)
        up = Up(Plan("127.0.0.1", free_port(), Path(folder), 1, chosen), lambda _: None)
        with up.running():
            up.await_ready()
            with Client(up.url, up.first_key or "") as client:
                yield client


def run_system(
    client: Client, questions: Sequence[Question], in_flight: int, done: Done
) -> Measured:
    """Answer the questions with ``in_flight`` of them under way; latency is from POST to answer."""

    def answer(question: Question) -> dict[str, Any]:
        tokens = str(question.max_new_tokens)
        job = client.submit(question.picture, question.text, max_new_tokens=tokens, cache="false")
        job = client.wait(job["id"])
        if job["status"] != "succeeded":
            raise JobFailed(job)
        return job

    before = cpu_by_role(ROLES)
    calls = call(questions, in_flight, answer, done)
    cpu = {role: seconds - before[role] for role, seconds in cpu_by_role(ROLES).items()}
    return Measured(
        NAME,
        calls.seconds,
        calls.latencies,
        [str(job["answer"]["text"]).strip() for job in calls.replies],
        [_stages(job, s) for job, s in zip(calls.replies, calls.latencies, strict=True)],
        cpu,
    )


def _stages(job: dict[str, Any], seconds: float) -> dict[str, float]:
    stages = {name.removesuffix("_ms"): float(ms) for name, ms in job["timing"].items()}
    return {**stages, REST: max(0.0, 1000 * seconds - sum(stages.values()))}
