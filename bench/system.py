"""This system, as its users see it: HTTP in, HTTP out, the store and a worker behind it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx

from bench.callers import call
from bench.measured import Done, Measured, Run
from bench.peers.chat import ANSWER_TIMEOUT_S, run_chat
from bench.processes import ProcessorTime
from bench.workload import Question
from jobs.keys import Keys
from jobs.settings import Settings
from jobs.store import connect
from llava_jobs.client import Client, JobFailed
from llava_jobs.embedded import free_port
from llava_jobs.folder import URL_FILE
from llava_jobs.up import Plan, Up

NAME = "llava-jobs"
CHAT = "llava-jobs, chat route"
ROLES = {
    "pictures": "api.images.decoder_process",
    "api": "gunicorn",
    "worker": "celery",
    "store": "valkey",
}
"""Roles of processes, by a word of their commands; ``pictures`` are those that check pictures."""
REST = "rest"
"""What a job's own timing leaves: HTTP, ledger, hint, and waiting for a place in the batch."""


@dataclass(frozen=True)
class Installation:
    """A running installation: its address, the model's name, and the address of its store."""

    url: str
    model: str
    store_url: str

    def key(self, tenant: str) -> str:
        """Make an API key for a tenant; tenants share no cached answer, picture or prefix."""
        with closing(connect(self.store_url)) as store:
            return Keys(store).create(tenant)

    @contextmanager
    def client(self, tenant: str) -> Iterator[Client]:
        """A client of the native route, with a key of its own."""
        with Client(self.url, self.key(tenant)) as client:
            yield client

    @contextmanager
    def chat_client(self, tenant: str) -> Iterator[httpx.Client]:
        """A client for the chat route, with a key of its own."""
        headers = {"Authorization": f"Bearer {self.key(tenant)}"}
        limits = httpx.Limits(max_connections=None)
        with httpx.Client(
            base_url=self.url, headers=headers, timeout=ANSWER_TIMEOUT_S, limits=limits
        ) as client:
            yield client


@contextmanager
def system(model: Path, slots: int, **settings: str) -> Iterator[Run]:
    """Answer through a private installation with one worker; `settings` are further ones."""
    with installation(model, slots, **settings) as ours, ours.client("native") as client:
        yield partial(run_system, client)


@contextmanager
def system_chat(model: Path, slots: int) -> Iterator[Run]:
    """Answer through the chat route of a private installation with one worker."""
    with installation(model, slots) as ours, ours.chat_client("chat") as client:
        yield partial(run_chat, CHAT, ours.model, client, ROLES)


@contextmanager
def installation(model: Path, slots: int, **settings: str) -> Iterator[Installation]:
    """A private installation with one worker, from the moment that it is ready."""
    ours = {"slots": str(slots), **settings}
    env = {f"LLAVA_JOBS_{name.upper()}": value for name, value in ours.items()}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, patch.dict(os.environ, env):
        chosen = Settings(model=str(model), redis_url=None, bootstrap_key=None)
        up = Up(Plan("127.0.0.1", free_port(), Path(folder), 1, chosen), lambda _: None)
        with up.running():
            up.await_ready()
            store_url = (Path(folder) / URL_FILE).read_text().strip()
            yield Installation(up.url, chosen.served_model, store_url)


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

    time = ProcessorTime(ROLES)
    calls = call(questions, in_flight, answer, done)
    return Measured(
        NAME,
        calls.seconds,
        calls.latencies,
        [str(job["answer"]["text"]).strip() for job in calls.replies],
        [_stages(job, s) for job, s in zip(calls.replies, calls.latencies, strict=True)],
        time.so_far(),
    )


def _stages(job: dict[str, Any], seconds: float) -> dict[str, float]:
    stages = {name.removesuffix("_ms"): float(ms) for name, ms in job["timing"].items()}
    return {**stages, REST: max(0.0, 1000 * seconds - sum(stages.values()))}
