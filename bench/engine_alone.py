"""The engine in a process of its own, without HTTP, store and queue: what they cost is the rest."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import psutil

from bench.callers import call
from bench.measured import Measured
from bench.processes import cpu_seconds, share_cores
from bench.requests import request_of
from bench.workload import Question
from worker.engine import Engine, Limits

NAME = "engine alone"


def engine_alone(model: Path, questions: Sequence[Question], in_flight: int) -> Measured:
    """Answer the questions with `in_flight` under way; `cpu` is that of the engine's process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(_run, model, questions, in_flight).result()


def _run(model: Path, questions: Sequence[Question], in_flight: int) -> Measured:
    share_cores()
    engine = Engine.load(model, device="cpu", limits=Limits(slots=in_flight))

    def answer(question: Question) -> str:
        return engine.submit(request_of(question)).result().text.strip()

    this = psutil.Process()
    before = cpu_seconds(this)
    calls = call(questions, in_flight, answer, lambda: None)
    cpu = {"engine": cpu_seconds(this) - before}
    engine.close()
    return Measured(NAME, calls.seconds, calls.latencies, calls.replies, cpu=cpu)
