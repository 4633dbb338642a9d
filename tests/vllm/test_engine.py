"""The vLLM engine keeps the promises of worker.engine.serving; runs in vLLM's environment."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bench.peers.released_names import with_released_names
from worker.engine import (
    Engine,
    EngineClosed,
    EngineFailed,
    ImageUnreadable,
    Picture,
    PromptTooLong,
    Request,
    Turn,
)
from worker.vllm.engine import VllmEngine

ROOT = Path(__file__).parents[2]
WAIT_S = 120.0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model, written as released checkpoints are."""
    folder = tmp_path_factory.mktemp("model") / "demo"
    shutil.copytree(ROOT / "demo" / "weights", folder)
    return folder


@pytest.fixture(scope="module")
def engine(model: Path) -> Iterator[VllmEngine]:
    os.environ.update(VLLM_CPU_KVCACHE_SPACE="1", HF_HUB_OFFLINE="1")
    loaded = VllmEngine.load(
        with_released_names(model), slots=4, dtype="float32", enforce_eager=True
    )
    yield loaded
    loaded.close()


def pictures() -> list[Picture]:
    found = sorted((ROOT / "demo" / "pictures").glob("*.jpg"))
    return [Picture(path.read_bytes()) for path in found[:4]]


def asking(*parts: str | Picture, **more: object) -> Request:
    request: dict[str, object] = {"scope": "a", "max_new_tokens": 32, **more}
    return Request((Turn("user", parts),), **request)  # type: ignore[arg-type]


def endless(**more: object) -> Request:
    return asking("Tell me a story.", ignore_eos=True, **{"max_new_tokens": 4000, **more})


def test_greedy_answers_equal_the_built_in_engines(engine: VllmEngine, model: Path) -> None:
    one, two, *_ = pictures()
    dialogue = (
        Turn("user", (one, "What is in the picture?")),
        Turn("assistant", ("A picture.",)),
        Turn("user", ("Which colours are there?",)),
    )
    requests = [
        *(asking(picture, "What is in the picture?") for picture in pictures()),
        asking(one, two, "What differs?"),
        asking("What do </s> and <image> mean?"),
        Request(dialogue, scope="a", max_new_tokens=32),
    ]
    own = Engine.load(model)
    try:
        expected = [own.submit(request).result(WAIT_S) for request in requests]
    finally:
        own.close()
    answers = [engine.submit(request) for request in requests]
    for answer, wanted in zip(answers, expected, strict=True):
        result = answer.result(WAIT_S)
        assert (result.text, result.token_ids) == (wanted.text, wanted.token_ids)
        assert result.prompt_tokens == wanted.prompt_tokens
        assert result.finish_reason == wanted.finish_reason


def test_the_pieces_of_a_stream_join_to_the_answer(engine: VllmEngine) -> None:
    pieces: list[str] = []
    answer = engine.submit(endless(max_new_tokens=40), pieces.append)
    assert "".join(pieces) != "" or answer.result(WAIT_S)
    assert "".join(pieces) == answer.result(WAIT_S).text
    assert len(pieces) > 1


def test_a_canceled_answer_ends_with_what_came(engine: VllmEngine) -> None:
    begun = threading.Event()
    answer = engine.submit(endless(), lambda _: begun.set())
    assert begun.wait(WAIT_S)
    answer.cancel()
    result = answer.result(WAIT_S)
    assert result.finish_reason == "canceled"
    assert 0 < result.completion_tokens < 4000
    assert result.tokens_after_cancel <= result.completion_tokens


def test_a_deadline_ends_an_answer(engine: VllmEngine) -> None:
    result = engine.submit(endless(deadline=time.monotonic() + 0.5)).result(WAIT_S)
    assert result.finish_reason == "deadline"
    assert result.completion_tokens < 4000


def test_an_answer_ends_before_a_stop_string(engine: VllmEngine) -> None:
    whole = engine.submit(endless(max_new_tokens=40)).result(WAIT_S).text
    stop = whole[6:9]
    result = engine.submit(endless(max_new_tokens=40, stop=(stop,))).result(WAIT_S)
    assert result.text == whole[: whole.index(stop)]
    assert result.finish_reason == "stop"


def test_a_seed_repeats_a_sampled_answer(engine: VllmEngine) -> None:
    def sampled(seed: int) -> tuple[int, ...]:
        request = endless(max_new_tokens=40, temperature=2.0, seed=seed)
        return engine.submit(request).result(WAIT_S).token_ids

    assert sampled(1) == sampled(1)
    assert sampled(1) != sampled(2)


def test_a_prefix_is_found_by_its_own_scope_only(engine: VllmEngine) -> None:
    picture = pictures()[0]

    def cached(scope: str) -> int:
        request = asking(picture, "How many things are there?", scope=scope)
        return engine.submit(request).result(WAIT_S).cached_tokens

    assert cached("first") == 0
    assert cached("first") > 0
    assert cached("second") == 0


def test_a_bad_request_fails_alone(engine: VllmEngine) -> None:
    good = engine.submit(endless(max_new_tokens=40))
    damaged = Picture(pictures()[0].data[:60])
    with pytest.raises(ImageUnreadable):
        engine.submit(asking(damaged, "?")).result(WAIT_S)
    with pytest.raises(PromptTooLong):
        engine.submit(endless(max_new_tokens=10**6))
    assert good.result(WAIT_S).completion_tokens == 40


def test_it_counts_and_is_at_rest_when_all_is_answered(engine: VllmEngine) -> None:
    before = engine.counts
    result = engine.submit(endless(max_new_tokens=40)).result(WAIT_S)
    assert engine.counts.generated - before.generated == 40
    assert engine.counts.prompt - before.prompt == result.prompt_tokens
    assert (engine.running, engine.waiting, engine.step_age) == (0, 0, 0.0)


def test_a_killed_process_fails_open_answers_and_ends_the_engine(engine: VllmEngine) -> None:
    begun = threading.Event()
    answers = [engine.submit(endless(), lambda _: begun.set()) for _ in range(6)]
    assert begun.wait(WAIT_S)
    cores = [p for p in psutil.Process().children(recursive=True) if "EngineCore" in p.name()]
    assert cores
    for core in cores:
        core.send_signal(signal.SIGKILL)
    for answer in answers:
        with pytest.raises(EngineFailed):
            answer.result(WAIT_S)
    with pytest.raises(EngineClosed):
        engine.submit(endless())
