"""A tiny model on the device: answers as `generate` gives them, steps captured, draws repeated."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

from bench.generating import Generating
from bench.gpu import models, steps
from bench.gpu.journal import Record
from bench.gpu.pictures import first
from bench.gpu.plan import DTYPES, State
from bench.gpu.totals import answer_all
from bench.model import processor
from bench.requests import request_of
from bench.shape import TINY
from bench.workload import Question
from worker.engine import Engine, Limits

_ANSWERS = 16
_TOKENS = 24
_SLOTS = 16
_CACHE = _SLOTS * 1024


def measure(state: State) -> Iterator[Record]:
    """Hold a tiny model to the reference on a CPU in float32, and look into its engine."""
    plan = state.plan
    asked = [
        replace(question, max_new_tokens=_TOKENS)
        for question in first(state.questions["different pictures"], min(_ANSWERS, plan.count))
    ]
    # Random numbers of a GPU are others: the model is built on the CPU, and both have its weights.
    dtype = DTYPES[plan.dtype]
    model = models.random_model(TINY, "cpu", DTYPES["float32"]).to(dtype)
    known = _reference(deepcopy(model).float(), asked)
    engine = Engine(
        models.assembled(model, TINY, plan.device), Limits(slots=_SLOTS, cache_tokens=_CACHE)
    )
    try:
        _, _, results = answer_all(engine, asked, "small")
        found = [list(result.token_ids) for result in results]
        pairs = [pair for a, b in zip(known, found, strict=True) for pair in zip(a, b, strict=True)]
        yield {
            "answers": len(found),
            "equal": sum(a == b for a, b in zip(known, found, strict=True)),
            "first_tokens_equal": sum(a[0] == b[0] for a, b in zip(known, found, strict=True)),
            "tokens_equal": sum(a == b for a, b in pairs) / len(pairs),
            "numbers": str(dtype).removeprefix("torch."),
        }
        yield from _draws(engine, asked)
        if plan.on_cuda:
            yield {"graphs": steps.graphs_of(engine)}
        else:
            yield {"graphs": None, "skipped": "needs CUDA"}
    finally:
        engine.close()


def _reference(model: Any, asked: list[Question]) -> list[list[int]]:
    generating = Generating(model, processor(TINY))
    return [ids for question in asked for ids in generating.tokens([question])]


def _draws(engine: Engine, asked: list[Question]) -> Iterator[Record]:
    """A drawn answer among greedy ones repeats, and leaves them as they were."""
    drawn = replace(request_of(asked[0], "drawn", ignore_eos=True), temperature=1.0, seed=5)
    alone = engine.submit(drawn).result().token_ids
    greedy = [request_of(question, "beside", ignore_eos=True) for question in asked]
    before = [answer.result().token_ids for answer in map(engine.submit, greedy)]
    answers = [engine.submit(request) for request in (drawn, *greedy)]
    among, *beside = [answer.result().token_ids for answer in answers]
    yield {
        "drawn_repeats": among == alone,
        "greedy_beside_it": sum(a == b for a, b in zip(before, beside, strict=True)),
        "of": len(greedy),
    }
