"""Greedy answers equal those of plain `generate(pixel_values=...)`, token for token."""

import itertools
from pathlib import Path

import pytest
from transformers import LlavaNextForConditionalGeneration, LlavaNextProcessor

from demo.model import WEIGHTS
from tests.unit.engine.conftest import Checkpoint, NewEngine, ask, paint
from worker.engine import Engine, Limits, Picture, Request, Turn

SHAPES = {
    "portrait": (90, 200),
    "landscape": (200, 90),
    "square": (128, 128),
    "large": (1400, 1000),
    "small": (20, 16),
    "panorama": (900, 60),
    "odd": (331, 127),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_picture_alone(shape: str, engine: Engine, checkpoint: Checkpoint) -> None:
    request = ask(paint(*SHAPES[shape]), "What is shown?", scope=shape)
    answer = engine.submit(request).result()
    assert list(answer.token_ids) == checkpoint.generate(request)
    assert answer.prompt_tokens == checkpoint.inputs(request.conversation)["input_ids"].shape[1]


def mixed(count: int = 32) -> list[Request]:
    """Every shape, repeated pictures, two pictures at once, two turns, and text alone."""
    pictures = [paint(*size, seed=i) for i, size in enumerate(SHAPES.values())]
    requests = [ask(picture, f"Question {i}?") for i, picture in enumerate(pictures)]
    requests += [ask(pictures[0], f"And question {i}?") for i in range(6)]
    requests += [ask(a, "or", b, "?") for a, b in itertools.pairwise(pictures)]
    requests += [ask(a, a, "twice?") for a in pictures[:2]]
    requests += [follow_up(picture) for picture in pictures[:4]]
    requests += [ask(f"Only words {i}, " + "more of them, " * i) for i in range(8)]
    return requests[:count]


def follow_up(picture: Picture) -> Request:
    first = Turn("user", (picture, "What colour is the light?"))
    turns = (first, Turn("assistant", ("Red.",)), Turn("user", ("And the icon?",)))
    return Request(turns, scope="tenant", max_new_tokens=8, ignore_eos=True)


def test_a_batch_of_32(new_engine: NewEngine, checkpoint: Checkpoint) -> None:
    requests = mixed()
    assert len(requests) == 32
    engine = new_engine(slots=32)
    results = [handle.result() for handle in [engine.submit(request) for request in requests]]
    expected = [checkpoint.generate(request) for request in requests]
    assert [list(result.token_ids) for result in results] == expected
    assert any(result.cached_tokens for result in results)


def test_when_everything_is_tight(new_engine: NewEngine, checkpoint: Checkpoint) -> None:
    """Prompts are read in chunks, requests wait for slots, pages and rows, prefixes are dropped."""
    engine = new_engine(
        slots=5, cache_tokens=1600, step_tokens=96, page_tokens=16, picture_tokens=800
    )
    requests = mixed()
    results = [handle.result() for handle in [engine.submit(r) for r in requests]]
    assert [list(r.token_ids) for r in results] == [checkpoint.generate(r) for r in requests]


def test_when_ids_start_over(new_engine: NewEngine, checkpoint: Checkpoint) -> None:
    """After int32 is used up, nothing that was cached under the old ids is found."""
    engine = new_engine(slots=4, picture_tokens=800)
    pool = engine._admission._pool
    pool._ids = 2000
    requests = mixed()
    results = [handle.result() for handle in [engine.submit(r) for r in requests]]
    assert [list(r.token_ids) for r in results] == [checkpoint.generate(r) for r in requests]
    assert pool.epoch > 0


def test_beside_sampled_answers(new_engine: NewEngine, checkpoint: Checkpoint) -> None:
    engine = new_engine(slots=32)
    greedy = mixed(12)
    hot = [ask(paint(100, 80, i), "Go!", temperature=1.5, seed=i) for i in range(12)]
    handles = [engine.submit(r) for pair in zip(greedy, hot, strict=True) for r in pair]
    results = [list(handle.result().token_ids) for handle in handles]
    assert results[::2] == [checkpoint.generate(request) for request in greedy]


@pytest.mark.skipif(not list(WEIGHTS.glob("*.safetensors")), reason="no trained weights yet")
def test_the_trained_demo_model() -> None:
    checkpoint = Checkpoint(
        LlavaNextForConditionalGeneration.from_pretrained(WEIGHTS).eval(),
        LlavaNextProcessor.from_pretrained(WEIGHTS),
    )
    requests = [
        ask(paint(*size), question, max_new_tokens=24, ignore_eos=False)
        for size in SHAPES.values()
        for question in ("What colour is the light?", "按钮有几个？")
    ]
    engine = Engine.load(Path(WEIGHTS), device="cpu", limits=Limits(slots=8))
    results = [handle.result() for handle in [engine.submit(r) for r in requests]]
    engine.close()
    assert [list(r.token_ids) for r in results] == [checkpoint.generate(r) for r in requests]
