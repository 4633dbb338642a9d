"""The running batch: pages, seats, the prefixes that it remembers, and what a step does."""

import pytest
import torch
from torch import nn

from bench.host.idle import IdleDecoder
from tests.unit.engine.conftest import Checkpoint
from worker.engine.attention.reference import Reference
from worker.engine.batch.batch import Batch
from worker.engine.batch.runner import Runner
from worker.engine.batch.sampling import Sampling
from worker.engine.limits import Resolved
from worker.engine.model.embedding import PictureEmbedding

PAGE = 16
GREEDY = Sampling()


@pytest.fixture
def batch(checkpoint: Checkpoint) -> Batch:
    model = checkpoint.loaded().model
    limits = Resolved(
        context=20 * PAGE,
        slots=4,
        cache_tokens=20 * PAGE,
        step_tokens=64,
        page_tokens=PAGE,
        picture_tokens=100,
        tiles_per_pass=1,
    )
    embedding = PictureEmbedding(model.get_input_embeddings(), limits.picture_tokens)
    return Batch(Runner.of(model, embedding, Reference(), limits), limits)


def prompt(first: int, pages: int) -> list[int]:
    """A prompt of whole pages and one token more."""
    return [first] + [7] * (pages * PAGE)


def run(batch: Batch, ids: list[int], new: int = 1) -> int:
    """Answer one prompt alone; returns how many of its tokens were cached."""
    running = batch.add(f"{ids}", ids, new, frozenset(), GREEDY)
    while not running.finished:
        batch.step()
    cached = running.cached_tokens
    batch.remove(running)
    return cached


def test_the_cache_has_the_pages_that_were_asked_for(batch: Batch) -> None:
    assert batch.capacity_tokens == 20 * PAGE
    assert batch._pages.empty == 20


def test_a_finished_prompt_is_remembered_in_whole_pages(batch: Batch) -> None:
    assert run(batch, prompt(1, 4)) == 0
    assert run(batch, prompt(1, 4)) == 4 * PAGE
    assert batch._pages.empty == 16


def test_what_was_unused_longest_is_forgotten_first(batch: Batch) -> None:
    for first in (1, 2, 3, 4):
        run(batch, prompt(first, 4))
    run(batch, prompt(5, 6))
    assert run(batch, prompt(4, 4)) == 4 * PAGE
    assert run(batch, prompt(1, 4)) == PAGE  # three pages were needed, its last ones


def test_everything_can_be_forgotten(batch: Batch) -> None:
    run(batch, prompt(1, 4))
    batch.forget_prefixes()
    assert batch._pages.empty == 20
    assert run(batch, prompt(1, 4)) == 0


def test_pages_are_reserved_for_the_longest_answer(batch: Batch) -> None:
    running = batch.add("a", prompt(1, 4), 10 * PAGE, frozenset(), GREEDY)
    assert batch.fits(5 * PAGE)
    assert not batch.fits(5 * PAGE + 1)
    batch.remove(running)
    assert batch.fits(20 * PAGE)


def test_slots_are_counted(batch: Batch) -> None:
    for name in "abcd":
        assert batch.fits(1)
        batch.add(name, [1], 1, frozenset(), GREEDY)
    assert not batch.fits(1)


def test_a_request_taken_out_in_the_middle_gives_its_pages_back(batch: Batch) -> None:
    running = batch.add("a", prompt(1, 4), 100, frozenset(), GREEDY)
    batch.step()
    batch.remove(running)
    batch.forget_prefixes()
    assert len(batch) == 0
    assert batch._pages.empty == 20


def test_the_same_beginning_is_noticed_until_it_has_been_read(batch: Batch) -> None:
    batch.add("a", prompt(1, 6), 5, frozenset(), GREEDY)
    assert batch.shares_unfinished_prefix(prompt(1, 3))
    assert not batch.shares_unfinished_prefix(prompt(2, 3))
    assert not batch.shares_unfinished_prefix([1])
    batch.step()
    assert not batch.shares_unfinished_prefix(prompt(1, 2))  # its pages are in the cache by now
    assert batch.shares_unfinished_prefix(prompt(1, 6))
    batch.step()
    assert not batch.shares_unfinished_prefix(prompt(1, 6))


def test_requests_generate_in_the_steps_that_read_other_prompts(batch: Batch) -> None:
    alone = batch.add("alone", prompt(1, 1), 8, frozenset(), GREEDY)
    while not alone.finished:
        batch.step()
    batch.remove(alone)
    batch.forget_prefixes()

    generating = batch.add("a", prompt(1, 1), 8, frozenset(), GREEDY)
    batch.step()
    reading = batch.add("b", prompt(2, 4), 8, frozenset(), GREEDY)
    batch.step()  # 63 of its 65 tokens
    assert (len(generating.tokens), len(reading.tokens)) == (2, 0)
    batch.step()
    assert (len(generating.tokens), len(reading.tokens)) == (3, 1)
    while not generating.finished:
        batch.step()
    assert generating.tokens == alone.tokens


def test_a_step_that_advances_nobody_is_an_error(batch: Batch) -> None:
    with pytest.raises(RuntimeError, match="nothing to do"):
        batch.step()


def test_what_a_step_is_told_goes_to_the_device_of_the_model() -> None:
    """Also where a GPU runs without captured steps; torch's meta device stands for it."""
    far = torch.device("meta")
    limits = Resolved(
        context=2 * PAGE,
        slots=2,
        cache_tokens=2 * PAGE,
        step_tokens=64,
        page_tokens=PAGE,
        picture_tokens=1,
        tiles_per_pass=1,
    )
    embedding = PictureEmbedding(nn.Embedding(8, 4, device=far), 1)
    cells = torch.empty(3, PAGE, 1, 4, device=far)
    runner = Runner(IdleDecoder(), embedding, [(cells, cells)], limits)
    assert runner._upload([1, 2]).device == far
