"""A whole model by the kernels of a GPU answers as plain `generate` does."""

import pytest

from tests.unit.engine.conftest import Checkpoint, NewEngine, ask, checkpoint, new_engine, paint
from worker.engine.attention.gpu import OnGpu
from worker.engine.attention.reference import Reference

__all__ = ["checkpoint", "new_engine"]


class Eager(OnGpu):
    """Not captured: there is no CUDA graph here."""

    capturable = False


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's kernels, FlashAttention's answers, and plain matrix products instead of oneDNN's."""
    kernels = Eager(132, Reference().prompt)
    monkeypatch.setattr("worker.engine.engine.kernels_for", lambda *_, **__: kernels)
    for module in ("decoder", "projections"):
        monkeypatch.setattr(f"worker.engine.model.{module}.can_pack", lambda _: False)


def test_answers_equal_generate(new_engine: NewEngine, checkpoint: Checkpoint) -> None:
    """The second request begins with pages that the first has filled."""
    engine = new_engine(slots=4)
    requests = [
        ask(paint(60, 60, seed), question, max_new_tokens=tokens)
        for seed, question, tokens in ((0, "What?", 2), (0, "What is it?", 3), (1, "Where?", 4))
    ]
    answers = [engine.submit(request) for request in requests]
    for answer, request in zip(answers, requests, strict=True):
        assert list(answer.result().token_ids) == checkpoint.generate(request)
