"""The arithmetic that is counted is what the model does, as torch counts it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench import sizing
from bench.ceilings import Ceilings
from bench.cost import BFLOAT16, FLOAT32, FP8, Cost, Costs, Job, jobs_of, least_seconds, size_of
from bench.model import configuration, new_model
from bench.shape import MISTRAL_7B, TINY
from bench.workload import one_picture
from worker.engine.model.description import tiling_of


@pytest.fixture(scope="module")
def model() -> Any:
    model = new_model(TINY)
    model.set_attn_implementation("eager")  # torch does not count a CPU's fused attention
    return model


def counted(call: Any) -> int:
    """Operations of a call, with the attention to keys that a query may not see counted too."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def test_reading_a_prompt(model: Any) -> None:
    tokens = 50
    ids = torch.full((1, tokens), 300)
    found = counted(lambda: model(input_ids=ids, logits_to_keep=1, use_cache=False))
    masked = 4 * TINY.hidden * TINY.layers * (tokens**2 - tokens * (tokens + 1) // 2)
    assert Costs(model.config, FLOAT32).prefill(tokens).flops + masked == found


def test_reading_what_follows_a_known_prefix_costs_what_is_left(model: Any) -> None:
    costs = Costs(model.config, FLOAT32)
    whole, first = costs.prefill(50), costs.prefill(30)
    rest = costs.prefill(20, known=30)
    head = 2 * TINY.hidden * TINY.vocabulary
    assert first.flops + rest.flops - head == whole.flops


def test_looking_at_tiles(model: Any) -> None:
    costs = Costs(model.config, FLOAT32)
    pixels = torch.zeros(1, 3, 3, TINY.tile, TINY.tile)
    sizes = torch.tensor([[TINY.tile, 2 * TINY.tile]])
    found = counted(lambda: model.get_image_features(pixels, sizes))
    unread = costs.vision(3).flops / (TINY.vision_layers - 1)  # about one layer of the tower
    assert costs.vision(3).flops < found < costs.vision(3).flops + 1.2 * unread


def test_generating_reads_the_weights_once_a_step_for_the_whole_batch(model: Any) -> None:
    costs = Costs(model.config, FLOAT32)
    alone, shared = costs.decode(100, 11, 1), costs.decode(100, 11, 10)
    assert alone.flops == shared.flops
    assert alone.bytes - shared.bytes == pytest.approx(0.9 * 10 * 4 * costs.weights)


def test_a_released_model_costs_what_the_design_says() -> None:
    costs = Costs(configuration(MISTRAL_7B), BFLOAT16)
    assert costs.token_bytes == 128 * 1024
    assert costs.vision(5).flops == pytest.approx(2.0e12, rel=0.1)
    assert costs.prefill(2400).flops == pytest.approx(35.0e12, rel=0.03)


def test_the_scarcer_of_arithmetic_and_traffic_settles_the_time() -> None:
    ceilings = Ceilings(flops=10, bytes=5)
    assert Cost(20, 5).seconds(ceilings) == 2
    assert Cost(10, 15).seconds(ceilings) == 3


def test_the_limit_adds_up_the_stages_of_each_job(model: Any) -> None:
    costs, ceilings = Costs(model.config, FLOAT32), Ceilings(flops=1e9, bytes=1e8)
    job = Job(tiles=3, prompt=50, known=0, answer=11)
    stages = costs.vision(3), costs.prefill(50), costs.decode(50, 11, 4)
    apart = [stage.seconds(ceilings) for stage in stages]
    assert least_seconds(costs, [job], 4, ceilings) == pytest.approx(sum(apart))
    assert least_seconds(costs, [job, job], 4, ceilings) == pytest.approx(2 * sum(apart))
    together = (stages[0] + stages[1] + stages[2]).seconds(ceilings)
    assert together < sum(apart), "reading is bound by arithmetic, generating by traffic"


def test_eight_bits_speed_up_linear_layers_and_nothing_else() -> None:
    wide, narrow = (Costs(configuration(MISTRAL_7B), numbers) for numbers in (BFLOAT16, FP8))
    prompt = narrow.prefill(2400)
    assert prompt.flops == wide.prefill(2400).flops
    assert prompt.flops_8 == pytest.approx(33.5e12, rel=0.01)
    assert narrow.vision(5) == wide.vision(5)
    assert narrow.token_bytes == wide.token_bytes
    head = MISTRAL_7B.hidden * MISTRAL_7B.vocabulary
    assert narrow.weight_bytes == wide.weight_bytes / 2 + head
    ceilings = Ceilings(flops=1.0, bytes=float("inf"), in_8_bits=2.0)
    assert Cost(flops=10, flops_8=4).seconds(ceilings) == 6 + 2
    assert Cost(flops=10, flops_8=4).seconds(Ceilings(1.0, float("inf"))) == 10


def test_a_picture_that_was_seen_is_not_looked_at_or_read_again() -> None:
    tiling = tiling_of(configuration(TINY))
    first, second = one_picture(2, seed=1)
    tokens, tiles = size_of(first, tiling)
    jobs = jobs_of([first, second], tiling, lambda _: tokens + 9)
    assert jobs == [
        Job(tiles, tokens + 9, 0, first.max_new_tokens),
        Job(0, tokens + 9, tokens, second.max_new_tokens),
    ]


def test_the_operations_manual_has_the_limits_that_measurements_go_by() -> None:
    manual = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    rows = sizing.markdown(sized.row() for sized in sizing.SIZED)
    assert rows in manual, "python -m bench.sizing prints the rows"
    again = least_seconds(sizing.SIZED[0].costs, [sizing.AGAIN], 256, sizing.H200.ceilings)
    assert f"up to {1 / again:.0f} jobs/s" in manual
