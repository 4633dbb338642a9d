"""The reference judges each token of an answer after the answer's own tokens before it."""

import pytest

from bench.generating import Generating
from bench.gpu.forced import judge
from bench.model import new_model, processor
from bench.shape import TINY
from bench.workload import Question, different_pictures


@pytest.fixture(scope="module")
def generating() -> Generating:
    return Generating(new_model(TINY), processor(TINY))


@pytest.fixture(scope="module")
def question() -> Question:
    return different_pictures(1, 3)[0]


def test_what_the_reference_says_itself_is_all_its_own(
    generating: Generating, question: Question
) -> None:
    (answer,) = generating.tokens([question])
    judged = judge(generating, question, answer)
    assert judged.tokens == judged.best == judged.near == len(answer) == 64
    assert judged.worst == 0


def test_a_wrong_token_is_found_and_what_follows_it_is_judged_by_itself(
    generating: Generating, question: Question
) -> None:
    (answer,) = generating.tokens([question])
    wrong = [*answer[:5], answer[5] + 1, *answer[6:]]
    judged = judge(generating, question, wrong)
    assert judged.best < 64
    assert judged.worst > 0
    assert judge(generating, question, wrong[:6]).best == 5
