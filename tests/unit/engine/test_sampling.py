"""Draws follow the distribution, repeat with their seed, and ignore their neighbours."""

import pytest
import torch
from transformers import TopKLogitsWarper, TopPLogitsWarper

from tests.unit.engine.conftest import ask, paint
from worker.engine import Engine
from worker.engine.batch.sampling import Draws, Sampling, draw_alone, gumbel, keep_top


@pytest.mark.parametrize(("top_k", "top_p"), [(5, 0.9), (50, 0.3), (0, 0.7), (1, 1.0), (7, 1.0)])
def test_the_tokens_kept_are_those_that_transformers_keeps(top_k: int, top_p: float) -> None:
    scores = torch.randn(8, 200, generator=torch.Generator().manual_seed(0)) * 3
    theirs = scores
    if top_k:
        theirs = TopKLogitsWarper(top_k)(None, theirs)
    if top_p < 1:
        theirs = TopPLogitsWarper(top_p)(None, theirs)
    ours = keep_top(scores, torch.full((8,), top_k), torch.full((8, 1), top_p))
    assert torch.equal(ours, theirs)


def test_draws_follow_the_distribution() -> None:
    likelihood = torch.tensor([0.5, 0.3, 0.15, 0.05])
    draws = (likelihood.log() + gumbel(torch.arange(40_000, dtype=torch.int32), 4)).argmax(-1)
    shares = torch.bincount(draws, minlength=4) / len(draws)
    assert torch.allclose(shares, likelihood, atol=0.01)


def draw(scores: torch.Tensor, rows: list[tuple[Sampling, int]]) -> list[int]:
    """The tokens that are chosen for rows of (sampling, position)."""
    draws = Draws.of(torch.tensor([sampling.columns() for sampling, _ in rows], dtype=torch.int32))
    tokens: list[int] = draws.choose(scores, torch.tensor([place for _, place in rows])).tolist()
    return tokens


def test_a_draw_depends_on_seed_and_position_and_on_nothing_else() -> None:
    scores = torch.randn(1, 500, generator=torch.Generator().manual_seed(1))
    hot = Sampling(temperature=1.0, seed=7)
    alone = [draw(scores, [(hot, p)])[0] for p in range(50)]
    other = Sampling(temperature=0.3, top_k=3, seed=9)
    beside = [
        draw(scores.expand(3, -1), [(Sampling(), p), (other, p), (hot, p)]) for p in range(50)
    ]
    assert [tokens[2] for tokens in beside] == alone
    assert {tokens[0] for tokens in beside} == {int(scores.argmax())}
    assert len(set(alone)) > 20
    assert alone != [draw(scores, [(Sampling(1.0, seed=8), p)])[0] for p in range(50)]


def test_a_greedy_row_takes_the_highest_score_beside_drawing_ones() -> None:
    scores = torch.randn(3, 50, generator=torch.Generator().manual_seed(2))
    rows = [(Sampling(), 0), (Sampling(temperature=2.0, seed=1), 0), (Sampling(), 1)]
    chosen = draw(scores, rows)
    assert [chosen[0], chosen[2]] == scores.argmax(-1)[[0, 2]].tolist()


def test_a_batch_draws_what_a_request_alone_draws() -> None:
    scores = torch.randn(1, 500, generator=torch.Generator().manual_seed(3))
    warm = Sampling(temperature=0.8, top_p=0.9, top_k=40, seed=5)
    alone = [int(draw_alone(scores, warm, place).argmax()) for place in range(50)]
    assert [draw(scores, [(warm, place)])[0] for place in range(50)] == alone


def test_a_seeded_answer_repeats_in_any_company(engine: Engine) -> None:
    request = ask(paint(100, 100), "Say!", temperature=1.0, top_p=0.9, top_k=40, seed=3)
    alone = engine.submit(request).result()
    company = [engine.submit(ask(paint(80, 80, i), "!", temperature=2.0)) for i in range(6)]
    again = engine.submit(request).result()
    for other in company:
        other.result()
    assert again.token_ids == alone.token_ids


def test_unseeded_answers_differ(engine: Engine) -> None:
    request = ask(paint(100, 100), "Say!", temperature=1.5)
    answers = {engine.submit(request).result().token_ids for _ in range(4)}
    assert len(answers) > 1
