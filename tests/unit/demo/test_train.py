"""The recipe's stages follow each other, and each can be taken up where it was left."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from demo.conversations import Example, example
from demo.detail import crops, small_print
from demo.evaluate import load
from demo.model import new_processor
from demo.recipe import Recipe
from demo.scenes import random_scene
from demo.train import Learner

BRIEF = Recipe(
    tower_steps=1,
    tower_batch=2,
    steps=1,
    batch=2,
    detail_steps=2,
    detail_batch=1,
    kept_batch=2,
    letters_steps=1,
    letters_batch=1,
    head_steps=1,
)
PROCESSOR = new_processor()


@pytest.fixture(scope="module")
def ordinary() -> list[Example]:
    return [example(random_scene(Random(i)), PROCESSOR) for i in range(4)]


@pytest.fixture(scope="module")
def detailed() -> list[Example]:
    scenes = [small_print(Random(i), 2, 0.5, 1.1) for i in range(2)]
    return [example(scene, PROCESSOR, crops(*scene.size, 2)) for scene in scenes]


def weights(learner: Learner) -> dict[str, Any]:
    return {name: value.clone() for name, value in learner.model.state_dict().items()}


def test_small_print_is_learnt_after_conversing_in_one_go_or_two(
    tmp_path: Path, ordinary: list[Example], detailed: list[Example]
) -> None:
    learner = Learner(BRIEF, tmp_path / "checkpoint")
    assert not learner.has_done("whole", BRIEF.steps)
    learner.learn_to_see(ordinary)
    learner.learn_to_converse(ordinary)
    again = Learner(BRIEF, tmp_path / "checkpoint")
    assert again.has_done("whole", BRIEF.steps)
    for one in (learner, again):
        one.learn_small_print(ordinary, detailed)
        one.learn_small_letters(ordinary, ordinary, detailed)
        one.remember()
    torch.testing.assert_close(weights(again), weights(learner), rtol=0, atol=0)
    resumed = Learner(BRIEF, tmp_path / "checkpoint")
    resumed.remember()
    torch.testing.assert_close(weights(resumed), weights(learner), rtol=0, atol=0)


def test_saved_weights_learn_small_print_once_their_head_is_learnt_anew(
    tmp_path: Path, ordinary: list[Example], detailed: list[Example]
) -> None:
    Learner(BRIEF, None).save_pretrained(tmp_path / "start")
    learner = Learner(BRIEF, tmp_path / "checkpoint", tmp_path / "start")
    before = weights(learner)
    learner.learn_to_see(ordinary)
    learner.learn_to_converse(ordinary)
    learner.learn_to_name(ordinary)
    torch.testing.assert_close(weights(learner), before, rtol=0, atol=0)
    learner.learn_small_print(ordinary, detailed)
    learner.save_pretrained(tmp_path / "out")
    torch.testing.assert_close(load(tmp_path / "out")[0].state_dict(), weights(learner))
    assert any((weights(learner)[name] != before[name]).any() for name in before)
