"""A GPU's way through the engine, rehearsed on a CPU: captured steps, and the host a step ahead."""

from collections.abc import Callable

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from tests.unit.engine import rehearsal
from tests.unit.engine.conftest import Checkpoint, NewEngine, ask, paint
from worker.engine import Engine, ModelError
from worker.engine.attention.kernels import DecodeStep
from worker.engine.attention.reference import Reference
from worker.engine.batch import graphs
from worker.engine.batch.graphs import GraphRunner, sizes


class Capturable(Reference):
    """The reference, but for what cannot be captured: its `decode` has the host read lengths."""

    capturable = True

    def decode(
        self,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        step: DecodeStep,
        scale: float,
    ) -> torch.Tensor:
        """Gather the pages of all requests and attend once, what is too much masked away."""
        (rows, heads, dim), groups = query.shape, keys.shape[2]
        table = step.table.long()
        key, value = (cells[table].flatten(1, 2).transpose(1, 2) for cells in (keys, values))
        behind = torch.arange(key.shape[2]) >= step.lengths.unsqueeze(1)
        mask = torch.zeros(behind.shape).masked_fill(behind, -torch.inf)
        output = scaled_dot_product_attention(
            query.reshape(rows, groups, heads // groups, dim),
            key,
            value.masked_fill(behind.view(rows, 1, -1, 1), 0),
            attn_mask=mask.view(rows, 1, 1, -1),
            scale=scale,
        )
        return output.reshape(rows, heads, dim)


@pytest.fixture
def on_gpu(new_engine: NewEngine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Engine]:
    """Build engines that go a GPU's way, with kernels of one's own."""

    def build(kernels: Reference, **limits: int) -> Engine:
        monkeypatch.setattr("worker.engine.engine.kernels_for", lambda *_, **__: kernels)
        monkeypatch.setattr(graphs, "capture", rehearsal.capture)
        return new_engine(**limits)

    return build


def test_captured_steps_answer_as_generate_does(
    on_gpu: Callable[..., Engine], checkpoint: Checkpoint
) -> None:
    engine = on_gpu(Capturable(), slots=6)
    requests = [
        ask(paint(40 + 9 * i, 60, i), f"Question {i}?", max_new_tokens=1 + 5 * i) for i in range(9)
    ]
    answers = [engine.submit(request) for request in requests]
    for answer, request in zip(answers, requests, strict=True):
        assert list(answer.result().token_ids) == checkpoint.generate(request)


def test_an_answer_that_the_model_ends_has_no_token_too_many(
    on_gpu: Callable[..., Engine], checkpoint: Checkpoint
) -> None:
    engine = on_gpu(Capturable(), slots=4)
    requests = [ask(paint(60, 60, i), "?", ignore_eos=False, max_new_tokens=60) for i in range(8)]
    for answer, request in [(engine.submit(r), r) for r in requests]:
        result = answer.result()
        assert list(result.token_ids) == checkpoint.generate(request)


def test_a_drawn_answer_among_greedy_ones_is_drawn_inside_the_captured_step(
    on_gpu: Callable[..., Engine], engine: Engine
) -> None:
    captured = on_gpu(Capturable(), slots=6)
    drawn = ask(paint(80, 60), "Draw!", temperature=1.0, top_p=0.9, top_k=30, seed=5)
    others = [ask(paint(60, 60, i), "?") for i in range(3)]
    answers = [captured.submit(request) for request in (drawn, *others)]
    wanted = [engine.submit(request).result().token_ids for request in (drawn, *others)]
    assert [answer.result().token_ids for answer in answers] == wanted


def test_all_steps_are_captured_before_the_first_request(on_gpu: Callable[..., Engine]) -> None:
    runner = on_gpu(Capturable(), slots=20)._batch._runner
    assert isinstance(runner, GraphRunner)
    assert runner.sizes == [1, 2, 4, 8, 12, 16, 20]
    assert runner.graphs == 2 * len(runner.sizes)


def test_a_step_that_cannot_be_captured_is_an_error_at_start(
    on_gpu: Callable[..., Engine],
) -> None:
    class Reading(Capturable):
        def decode(
            self,
            query: torch.Tensor,
            keys: torch.Tensor,
            values: torch.Tensor,
            step: DecodeStep,
            scale: float,
        ) -> torch.Tensor:
            assert int(step.lengths.max()) > 0  # the host waits for the device
            return super().decode(query, keys, values, step, scale)

    with pytest.raises(ModelError, match="cannot be captured"):
        on_gpu(Reading(), slots=2)


def test_a_captured_step_that_python_decides_is_found_out(
    on_gpu: Callable[..., Engine], checkpoint: Checkpoint
) -> None:
    """The rehearsal tells a replay from running the step anew."""

    class Baking(Capturable):
        def decode(
            self,
            query: torch.Tensor,
            keys: torch.Tensor,
            values: torch.Tensor,
            step: DecodeStep,
            scale: float,
        ) -> torch.Tensor:
            steps.append(len(steps))
            return super().decode(query * (1 + steps[-1]), keys, values, step, scale)

    steps: list[int] = []
    engine = on_gpu(Baking(), slots=1)
    before = len(steps)
    engine.submit(ask(paint(60, 60), "?")).result()
    assert len(steps) == before


@pytest.mark.parametrize("slots", [1, 2, 3, 8, 20, 256, 500])
def test_steps_are_little_filled_up(slots: int) -> None:
    captured = sizes(slots)
    assert captured[-1] == slots
    for rows in range(1, slots + 1):
        size = next(size for size in captured if size >= rows)
        assert size <= max(8, rows + 63, int(1.5 * rows)), rows


def test_nobody_reads_what_padding_rows_write(
    on_gpu: Callable[..., Engine], checkpoint: Checkpoint
) -> None:
    engine = on_gpu(Capturable(), slots=8)
    request = ask(paint(60, 60), "Five?", max_new_tokens=20)
    answers = [engine.submit(request) for _ in range(5)]
    assert {answer.result().token_ids for answer in answers} == {
        tuple(checkpoint.generate(request))
    }
