"""Teacher forcing: the reference reads the engine's answers and says what it would have said.

Token equality tells little of random weights in bfloat16: one near tie that rounds the other way
turns the rest of an answer. Here each token is judged after the engine's own ones before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bench.generating import Generating
from bench.gpu import models
from bench.gpu.journal import Record
from bench.gpu.plan import DTYPES, State
from bench.model import processor
from bench.workload import Question

NEAR = 0.1
"""A token whose score is that close to the best one's may win by rounding."""


@dataclass(frozen=True)
class Judged:
    """Tokens of an answer: all, those that the reference would have chosen, those within NEAR of
    its choice, and how far the worst is behind."""

    tokens: int
    best: int
    near: int
    worst: float


def measure(state: State) -> Iterator[Record]:
    """Hold answers of the totals to transformers' model with the same weights."""
    if not state.answered:
        raise ValueError("there are no answers to judge")
    plan = state.plan
    state.release()  # the engine has taken its weights over
    model = models.random_model(plan.shape, plan.device, DTYPES[plan.dtype])
    generating = Generating(model, processor(plan.shape))
    judged = [judge(generating, question, result.token_ids) for question, result in state.answered]
    tokens = sum(one.tokens for one in judged)
    yield {
        "numbers": plan.dtype,
        "answers": len(judged),
        "tokens": tokens,
        "best": sum(one.best for one in judged) / tokens,
        "near": sum(one.near for one in judged) / tokens,
        "worst": max(one.worst for one in judged),
        "answers_of_the_best_alone": sum(one.best == one.tokens for one in judged),
    }


@torch.inference_mode()
def judge(generating: Generating, question: Question, answer: Sequence[int]) -> Judged:
    """Read a prompt and an answer in one pass and compare scores at each of its tokens."""
    inputs: dict[str, Any] = dict(generating.inputs([question]))
    ids = inputs["input_ids"]
    said = torch.tensor([list(answer)], device=ids.device)
    inputs["input_ids"] = torch.cat([ids, said], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    kept = len(answer) + 1
    logits = generating.model(**inputs, logits_to_keep=kept).logits[0, :-1].float()
    best = logits.max(-1).values
    behind = best - logits.gather(1, said[0].unsqueeze(1)).squeeze(1)
    return Judged(
        len(answer),
        int((behind <= 0).sum()),
        int((behind <= NEAR).sum()),
        float(behind.max()),
    )
