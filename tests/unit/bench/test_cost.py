"""The arithmetic that is counted is what the model does, as torch counts it."""

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.ceilings import Ceilings
from bench.cost import Cost, Costs
from bench.model import configuration, new_model
from bench.shape import MISTRAL_7B, TINY


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
    assert Costs(model.config, 4).prefill(tokens).flops + masked == found


def test_reading_what_follows_a_known_prefix_costs_what_is_left(model: Any) -> None:
    costs = Costs(model.config, 4)
    whole, first = costs.prefill(50), costs.prefill(30)
    rest = costs.prefill(20, known=30)
    head = 2 * TINY.hidden * TINY.vocabulary
    assert first.flops + rest.flops - head == whole.flops


def test_looking_at_tiles(model: Any) -> None:
    costs = Costs(model.config, 4)
    pixels = torch.zeros(1, 3, 3, TINY.tile, TINY.tile)
    sizes = torch.tensor([[TINY.tile, 2 * TINY.tile]])
    found = counted(lambda: model.get_image_features(pixels, sizes))
    unread = costs.vision(3).flops / (TINY.vision_layers - 1)  # about one layer of the tower
    assert costs.vision(3).flops < found < costs.vision(3).flops + 1.2 * unread


def test_generating_reads_the_weights_once_a_step_for_the_whole_batch(model: Any) -> None:
    costs = Costs(model.config, 4)
    alone, shared = costs.decode(100, 11, 1), costs.decode(100, 11, 10)
    assert alone.flops == shared.flops
    assert alone.bytes - shared.bytes == pytest.approx(0.9 * 10 * 4 * costs.weights)


def test_a_released_model_costs_what_the_design_says() -> None:
    costs = Costs(configuration(MISTRAL_7B), 2)
    assert costs.token_bytes == 128 * 1024
    assert costs.vision(5).flops == pytest.approx(2.0e12, rel=0.1)
    assert costs.prefill(2400).flops == pytest.approx(35.0e12, rel=0.03)


def test_the_scarcer_of_arithmetic_and_traffic_settles_the_time() -> None:
    ceilings = Ceilings(flops=10, bytes=5)
    assert Cost(20, 5).seconds(ceilings) == 2
    assert Cost(10, 15).seconds(ceilings) == 3
