"""Other engines find every tensor under the name that released checkpoints have."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import LlavaNextForConditionalGeneration

from bench.model import write_model
from bench.peers.released_names import with_released_names
from bench.shape import TINY


def test_the_vision_tower_has_its_released_names_and_all_else_is_the_same(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", TINY)
    released = with_released_names(model)
    saved, found = (load_file(folder / "model.safetensors") for folder in (model, released))
    assert len(found) == len(saved)
    towers = {name for name in found if name.startswith("vision_tower.")}
    assert towers
    assert all(name.startswith("vision_tower.vision_model.") for name in towers)
    for name, weights in saved.items():
        longer = name.replace("vision_tower.", "vision_tower.vision_model.", 1)
        assert torch.equal(found[name if name in found else longer], weights)
    assert {path.name for path in released.iterdir()} == {path.name for path in model.iterdir()}
    assert with_released_names(model) == released, "it is written once"


def test_our_loading_takes_released_names_too(tmp_path: Path) -> None:
    released = with_released_names(write_model(tmp_path / "model", TINY))
    loaded = LlavaNextForConditionalGeneration.from_pretrained(released, output_loading_info=True)
    assert not loaded[1]["missing_keys"]
    assert not loaded[1]["unexpected_keys"]
