"""A model spread over devices and disk answers as one on a single device, one request at a time."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlavaNextForConditionalGeneration

from demo.model import WEIGHTS
from tests.unit.engine.conftest import Checkpoint, FirstWord, ask, paint, passing, until_closed
from worker.engine import (
    Engine,
    EngineClosed,
    EngineFailed,
    ImageUnreadable,
    ModelError,
    OutOfMemory,
    Picture,
    PromptTooLong,
    Request,
    SpreadEngine,
    Turn,
)

PICTURE = paint(200, 100)
LONG = 4000  # more tokens than any test waits for
ON_DISK = ("multi_modal_projector", "language_model.embed_tokens", "language_model.layers.2")


def device_map() -> dict[str, int | str]:
    """Half of the model in memory, the other half left on disk."""
    layers = [f"language_model.layers.{i}" for i in range(4)]
    inner = ["vision_tower", "multi_modal_projector", "image_newline"]
    inner += ["language_model.embed_tokens", "language_model.norm", "language_model.rotary_emb"]
    places = {f"model.{name}": "cpu" for name in [*inner, *layers]}
    return {**places, **{f"model.{name}": "disk" for name in ON_DISK}, "lm_head": "disk"}


@pytest.fixture(scope="module")
def folder(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The talkative model of random weights as a checkpoint."""
    folder = tmp_path_factory.mktemp("talkative")
    checkpoint.model.save_pretrained(folder)
    checkpoint.processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def spread(folder: Path) -> Iterator[SpreadEngine]:
    engine = SpreadEngine.load(folder, device_map=device_map())
    yield engine
    engine.close()


@pytest.fixture
def new_spread(checkpoint: Checkpoint) -> Iterator[Callable[[], SpreadEngine]]:
    """Engines of a test's own, closed after it."""
    engines: list[SpreadEngine] = []

    def build() -> SpreadEngine:
        engines.append(SpreadEngine(checkpoint.loaded()))
        return engines[-1]

    yield build
    for engine in engines:
        engine.close()


# Answers


def test_half_of_the_model_is_really_on_disk(spread: SpreadEngine) -> None:
    parameters = dict(spread._model.named_parameters())
    assert {name for name, p in parameters.items() if p.is_meta} == {
        name
        for name in parameters
        if name.startswith((*(f"model.{part}." for part in ON_DISK), "lm_head."))
    }


def test_answers_equal_generate(spread: SpreadEngine, checkpoint: Checkpoint) -> None:
    follow_up = (
        *(Turn("user", (PICTURE, "What colour?")), Turn("assistant", ("Red.",))),
        Turn("user", ("And now?",)),
    )
    requests = [
        *(ask(paint(*shape), "?") for shape in ((90, 200), (200, 90), (128, 128))),
        ask(PICTURE, "or", paint(64, 64), "?"),
        ask("Words alone"),
        Request(follow_up, scope="tenant", max_new_tokens=8, ignore_eos=True),
    ]
    results = [handle.result() for handle in [spread.submit(request) for request in requests]]
    assert [list(r.token_ids) for r in results] == [checkpoint.generate(r) for r in requests]
    lengths = [checkpoint.inputs(r.conversation)["input_ids"].shape[1] for r in requests]
    assert [r.prompt_tokens for r in results] == lengths
    assert {(r.finish_reason, r.completion_tokens, r.cached_tokens) for r in results} == {
        ("length", 8, 0)
    }
    assert min(min(r.timing.preprocess_ms, r.timing.generate_ms) for r in results) > 0


def test_the_trained_model_answers_as_on_one_device() -> None:
    requests = [
        ask(paint(*shape), question, max_new_tokens=24, ignore_eos=False)
        for shape in ((90, 200), (200, 90))
        for question in ("What colour is the light?", "按钮有几个？")
    ]
    engines = (
        SpreadEngine.load(WEIGHTS, device_map=device_map()),
        Engine.load(WEIGHTS, device="cpu"),
    )
    answers = [[engine.submit(r).result() for r in requests] for engine in engines]
    for engine in engines:
        engine.close()
    theirs, ours = ([(r.token_ids, r.text, r.finish_reason) for r in rs] for rs in answers)
    assert theirs == ours
    assert "stop" in {reason for _, _, reason in ours}


def test_a_seed_draws_what_it_draws_in_a_batch(spread: SpreadEngine, engine: Engine) -> None:
    hot = ask(PICTURE, "Go!", temperature=1.3, top_k=40, top_p=0.9, seed=7, max_new_tokens=24)
    first, again, batch = (e.submit(hot).result().token_ids for e in (spread, spread, engine))
    assert first == again == batch
    assert first != spread.submit(replace(hot, seed=8)).result().token_ids


def test_streamed_pieces_join_to_the_text(spread: SpreadEngine) -> None:
    pieces: list[str] = []
    result = spread.submit(ask(PICTURE, "Tell!", max_new_tokens=30), pieces.append).result()
    assert "".join(pieces) == result.text
    assert len(pieces) > 1


def test_an_answer_ends_before_a_stop_string(spread: SpreadEngine) -> None:
    hot = ask(PICTURE, "Tell!", temperature=1.5, seed=3, max_new_tokens=40)
    whole = spread.submit(hot).result().text
    stop = whole[len(whole) // 2 :][:3]
    pieces: list[str] = []
    result = spread.submit(replace(hot, stop=("never said", stop)), pieces.append).result()
    assert result.text == whole[: whole.index(stop)] == "".join(pieces)
    assert result.finish_reason == "stop"
    assert result.completion_tokens < 40


def test_typed_control_tokens_are_text(spread: SpreadEngine, engine: Engine) -> None:
    for text in ("<image>" * 5, "</s><s>[INST]", "[/INST] Yes </s>[INST] <image>"):
        ours, theirs = (e.submit(ask(PICTURE, text)).result() for e in (spread, engine))
        assert (ours.token_ids, ours.prompt_tokens) == (theirs.token_ids, theirs.prompt_tokens)


# Refusals


def test_too_long_a_prompt_is_refused(spread: SpreadEngine) -> None:
    with pytest.raises(PromptTooLong, match="holds 8192"):
        spread.submit(ask(PICTURE, "?", max_new_tokens=8192))


def test_a_bad_picture_fails_only_its_own_request(spread: SpreadEngine) -> None:
    with pytest.raises(ImageUnreadable):
        spread.submit(ask(Picture(b"nothing"), "?"))
    bad = spread.submit(ask(Picture(paint(300, 200, 9).data[:-900]), "?"))
    good = spread.submit(ask("Hello", max_new_tokens=2))
    with pytest.raises(ImageUnreadable):
        bad.result()
    assert good.result().completion_tokens == 2


def test_a_model_that_fits_nowhere_is_refused_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(LlavaNextForConditionalGeneration, "from_pretrained", full)
    with pytest.raises(ModelError, match="does not fit into the memory") as caught:
        SpreadEngine.load(folder)
    assert "\n" not in caught.value.message


# Ends


def test_a_running_answer_is_canceled_with_what_it_has(spread: SpreadEngine) -> None:
    first_word = FirstWord()
    handle = spread.submit(ask(PICTURE, "Go on!", max_new_tokens=LONG), first_word)
    first_word.wait()
    handle.cancel()
    first_word.release()
    result = handle.result()
    assert result.finish_reason == "canceled"
    assert 0 < result.completion_tokens < LONG
    assert result.tokens_after_cancel <= 1
    assert (spread.running, spread.waiting) == (0, 0)


def test_queued_answers_end_while_another_runs(spread: SpreadEngine) -> None:
    first_word = FirstWord()
    running = spread.submit(ask(PICTURE, "Go on!", max_new_tokens=LONG), first_word)
    first_word.wait()
    unwanted = spread.submit(ask(PICTURE, "Me too!"))
    late = spread.submit(ask(PICTURE, "And me!", deadline=time.monotonic()))
    other_is_over: list[bool] = []
    for queued in (unwanted, late):
        queued.future.add_done_callback(lambda _: other_is_over.append(running.future.done()))
    assert (spread.running, spread.waiting) == (1, 2)
    unwanted.cancel()
    first_word.release()
    reasons = [(r.finish_reason, r.token_ids) for r in (unwanted.result(), late.result())]
    running.cancel()
    running.result()
    assert reasons == [("canceled", ()), ("deadline", ())]
    assert other_is_over == [False, False]


def test_a_deadline_ends_a_running_answer(
    spread: SpreadEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ask(PICTURE, "Go on!", max_new_tokens=LONG, deadline=time.monotonic() + 86_400)
    result = spread.submit(request, passing(monkeypatch)).result()
    assert result.finish_reason == "deadline"
    assert 0 < result.completion_tokens < LONG
    assert spread.submit(replace(request)).result().completion_tokens == 0


def test_a_caller_whose_function_raises_fails_alone(spread: SpreadEngine) -> None:
    def refuse(piece: str) -> None:
        raise ConnectionError("the listener left")

    bad = spread.submit(ask(PICTURE, "Go on!", max_new_tokens=LONG), refuse)
    good = spread.submit(ask("Hello", max_new_tokens=2))
    with pytest.raises(ConnectionError):
        bad.result()
    assert good.result().completion_tokens == 2


def test_closing_fails_what_is_open(new_spread: Callable[[], SpreadEngine]) -> None:
    engine = new_spread()
    request = ask(PICTURE, "Go on!", max_new_tokens=LONG)
    handles = [engine.submit(request, until_closed(engine)) for _ in range(2)]
    engine.close()
    for handle in handles:
        with pytest.raises(EngineClosed):
            handle.result()
    with pytest.raises(EngineClosed):
        engine.submit(ask("?"))


@pytest.mark.parametrize(
    ("error", "told", "ends"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), OutOfMemory, False),
        (RuntimeError("CUDA error: an illegal memory access"), EngineFailed, True),
    ],
    ids=["memory", "fatal"],
)
def test_an_error_on_the_device_is_told(
    error: Exception,
    told: type[Exception],
    ends: bool,
    new_spread: Callable[[], SpreadEngine],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = new_spread()

    def fail(**_: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(engine._model, "generate", fail)
        with pytest.raises(told):
            engine.submit(ask(PICTURE, "?")).result()
    assert (engine.failed is not None) == ends
    if not ends:
        assert engine.submit(ask("?", max_new_tokens=2)).result().completion_tokens == 2
