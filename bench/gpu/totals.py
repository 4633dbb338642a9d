"""Whole answers: jobs a second of different pictures and of one, and what share of the limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from bench.cost import Cost, Costs, jobs_of, least_seconds
from bench.gpu import models
from bench.gpu.journal import Record
from bench.gpu.pictures import first
from bench.gpu.plan import NUMBERS, State
from bench.model import configuration
from bench.requests import request_of
from bench.workload import Question
from worker.engine import Engine, Result
from worker.engine.limits import STEP_OF
from worker.engine.model.description import tiling_of

_WARM = 8
_CHANGED = 256
"""Jobs of a run with something changed."""


def measure(state: State) -> Iterator[Record]:
    """Answer the questions of each workload, all submitted at once."""
    engine, plan = state.needs_engine(), state.plan
    for name, questions in state.questions.items():
        asked = _asked(questions, plan.count, plan.tokens)
        answer_all(engine, asked[:_WARM], f"warm {name}")
        seconds, processor, results = answer_all(engine, asked, f"{state.precision} {name}")
        if name == "different pictures" and state.precision == plan.dtype:
            state.answered = list(zip(asked, results, strict=True))[: plan.checked]
        yield {
            "workload": name,
            "numbers": state.precision,
            "cpu_s_per_job": processor / len(results),
            **rate(state, asked, results, seconds),
        }


def with_step(factor: int) -> Callable[[State], Iterator[Record]]:
    """The same with steps that read so many times as many tokens."""
    return lambda state: _changed(state, "step_tokens", factor * STEP_OF[state.plan.kind])


def with_slots(factor: float) -> Callable[[State], Iterator[Record]]:
    """The same with so many times as many slots."""
    return lambda state: _changed(state, "slots", max(1, int(factor * state.plan.slots)))


def _changed(state: State, limit: str, value: int) -> Iterator[Record]:
    """Different pictures, with one limit changed, by an engine that is built for it."""
    plan, changes = state.plan, {limit: value}
    state.release()
    state.precision = plan.dtype
    state.engine = models.engine_of(
        models.load(plan.shape, plan.device, plan.dtype), plan, **changes
    )
    try:
        asked = _asked(
            state.questions["different pictures"], min(_CHANGED, plan.count), plan.tokens
        )
        answer_all(state.engine, asked[:_WARM], "warm change")
        seconds, processor, results = answer_all(state.engine, asked, f"change {changes}")
        yield {
            "workload": "different pictures",
            "numbers": plan.dtype,
            "changes": changes,
            "cpu_s_per_job": processor / len(results),
            **rate(state, asked, results, seconds),
        }
    finally:
        state.release()


def answer_all(
    engine: Engine, questions: Sequence[Question], scope: str
) -> tuple[float, float, list[Result]]:
    """Submit everything at once; the seconds and the processor seconds until the last answer, and
    the answers. Answers and pictures of another `scope` help nobody."""
    began, processor = time.perf_counter(), time.process_time()
    answers = [engine.submit(request_of(q, scope, ignore_eos=True)) for q in questions]
    results = [answer.result() for answer in answers]
    return time.perf_counter() - began, time.process_time() - processor, results


def rate(
    state: State, questions: Sequence[Question], results: Sequence[Result], seconds: float
) -> Record:
    """What a run reached, and, where the ceilings were measured, its share of the limit."""
    plan, precision = state.plan, state.precision or state.plan.dtype
    tokens = sum(result.completion_tokens for result in results)
    found = {
        "jobs": len(results),
        "seconds": seconds,
        "jobs_per_s": len(results) / seconds,
        "tokens_per_s": tokens / seconds,
    }
    ceilings = state.ceilings.get(precision)
    if ceilings is None:
        return found
    config = configuration(plan.shape)
    costs = Costs(config, NUMBERS[precision])
    prompts = {id(q): r.prompt_tokens for q, r in zip(questions, results, strict=True)}
    jobs = jobs_of(questions, tiling_of(config), lambda question: prompts[id(question)])
    cost = sum((stage for job in jobs for stage in costs.stages(job, plan.slots)), Cost())
    return {
        **found,
        "flops_per_s": cost.flops / seconds,
        "bytes_per_s": cost.bytes / seconds,
        "share_of_limit": least_seconds(costs, jobs, plan.slots, ceilings) / seconds,
    }


def _asked(questions: Sequence[Question], count: int, tokens: int) -> list[Question]:
    return [replace(question, max_new_tokens=tokens) for question in first(questions, count)]
