"""What is asked depends on nothing but the seed."""

import io
from itertools import pairwise

import pytest
from PIL import Image

from api.images.canonical import canonicalise
from api.images.decoder_protocol import Limits
from bench.workload import (
    MIXED_ANSWER_TOKENS,
    PICTURE_SIZE,
    WORKLOADS,
    Workload,
    arriving,
    different_pictures,
    mixed_lengths,
    one_picture,
    repeated_pictures,
)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_the_same_seed_asks_the_same_and_another_asks_otherwise(workload: Workload) -> None:
    asked = workload.questions(4, 1)
    assert workload.questions(4, 1) == asked
    assert workload.questions(4, 2) != asked
    assert len(asked) == max(1, round(4 * workload.share))


def test_pictures_repeat_as_the_workload_says() -> None:
    assert len({q.picture for q in different_pictures(5, 1)}) == 5
    asked = one_picture(5, 1)
    assert len({q.picture for q in asked}) == 1
    assert len({q.text for q in asked}) == 5
    known = len({q.picture for q in repeated_pictures(40, 1)})
    assert 20 <= known <= 36
    with Image.open(io.BytesIO(asked[0].picture)) as picture:
        assert picture.size == PICTURE_SIZE


def test_the_door_stores_pictures_with_not_a_pixel_changed() -> None:
    (question,) = different_pictures(1, 1)
    stored = canonicalise(question.picture, Limits()).data
    with Image.open(io.BytesIO(stored)) as kept, Image.open(io.BytesIO(question.picture)) as sent:
        assert kept.tobytes() == sent.tobytes()


def test_mixed_answers_keep_to_their_bounds() -> None:
    lengths = [q.max_new_tokens for q in mixed_lengths(30, 1)]
    assert min(lengths) >= MIXED_ANSWER_TOKENS[0]
    assert max(lengths) <= MIXED_ANSWER_TOKENS[1]
    assert max(lengths) > 4 * min(lengths)


def test_arrivals_are_a_poisson_process_of_the_wanted_rate() -> None:
    questions = different_pictures(1, 1) * 2000
    instants = [q.arrives for q in arriving(questions, rate=50, seed=3)]
    gaps = [b - a for a, b in pairwise(instants)]
    assert instants[0] == 0
    assert min(gaps) > 0
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(1 / 50, rel=0.1)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert spread == pytest.approx(mean, rel=0.15)
