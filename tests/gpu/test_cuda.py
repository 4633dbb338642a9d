"""What only a GPU can show: its kernels and captured graphs give the right answers.

pytest tests/gpu
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from demo.model import WEIGHTS, new_model, new_processor
from tests.unit.engine.conftest import Checkpoint, ask, paint
from worker.engine import Engine, Limits
from worker.engine.model import loading

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

PAGE = 256


@pytest.fixture(scope="module")
def engines() -> Iterator[tuple[Engine, Checkpoint]]:
    torch.manual_seed(0)
    checkpoint = Checkpoint(new_model().eval(), new_processor())
    pixels = checkpoint.processor.image_processor
    loaded = loading.assemble(
        Checkpoint(checkpoint.model, checkpoint.processor).loaded().model.bfloat16(),
        checkpoint.processor,
        pixels,
        name="small",
        device="cuda",
    )
    engine = Engine(loaded, Limits(slots=64, cache_tokens=256 * PAGE))
    yield engine, checkpoint
    engine.close()


def test_captured_steps_answer_as_each_alone(engines: tuple[Engine, Checkpoint]) -> None:
    """In bfloat16 a batch may round otherwise than one alone: most answers are held, not all."""
    engine, _ = engines
    requests = [ask(paint(60 + i, 60, i), f"Question {i}?", max_new_tokens=16) for i in range(64)]
    alone = [engine.submit(request).result().token_ids for request in requests]
    together = [answer.result().token_ids for answer in map(engine.submit, requests)]
    same = sum(a == b for a, b in zip(alone, together, strict=True))
    assert same >= 58


def test_a_drawn_answer_beside_greedy_ones_repeats(engines: tuple[Engine, Checkpoint]) -> None:
    engine, _ = engines
    drawn = ask(paint(80, 60), "Draw!", temperature=1.0, seed=5)
    first = engine.submit(drawn).result().token_ids
    others = [engine.submit(ask(paint(60, 60, i), "?")) for i in range(3)]
    assert engine.submit(drawn).result().token_ids == first
    assert all(len(other.result().token_ids) == 8 for other in others)


def test_an_engine_says_how_much_of_the_gpu_it_has(engines: tuple[Engine, Checkpoint]) -> None:
    memory = engines[0].memory
    assert memory is not None
    assert 0 < memory.used < memory.total


def test_a_model_in_nf4_answers_in_captured_steps() -> None:
    limits = Limits(slots=8, cache_tokens=64 * PAGE)
    engine = Engine.load(WEIGHTS, device="cuda", quantize="nf4", limits=limits)
    whole = Engine.load(WEIGHTS, device="cuda", limits=limits)
    try:
        requests = [
            ask(paint(128, 128, i), "What colour is the light?", ignore_eos=False) for i in range(8)
        ]
        said, wanted = (
            [answer.result().text for answer in map(each.submit, requests)]
            for each in (engine, whole)
        )
        assert sum(a == b for a, b in zip(said, wanted, strict=True)) >= 6
    finally:
        engine.close()
        whole.close()
