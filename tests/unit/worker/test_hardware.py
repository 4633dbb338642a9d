"""A worker takes on what its machine and its model can bear, unless it is told."""

import pytest
from transformers import CLIPVisionConfig, LlamaConfig, LlavaNextConfig, MistralConfig

from jobs.settings import Settings
from worker.hardware import preprocess_processes, slots, slots_that_fit

GIB = 2**30
TOWER = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
}
GRIDS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
MISTRAL_7B = MistralConfig(vocab_size=32064, num_hidden_layers=32)
VICUNA_7B = LlamaConfig(vocab_size=32064)
VICUNA_13B = LlamaConfig(
    vocab_size=32064,
    hidden_size=5120,
    intermediate_size=13824,
    num_hidden_layers=40,
    num_attention_heads=40,
)


@pytest.mark.parametrize(
    ("text", "gib", "wanted"),
    [
        (MISTRAL_7B, 139, 225),  # all but 20 % of what 15 GB of weights leave, at 453 MiB a job
        (MISTRAL_7B, 78, 115),
        (MISTRAL_7B, 22, 14),
        (VICUNA_7B, 139, 59),
        (VICUNA_13B, 78, 16),
        (VICUNA_13B, 24, 4),
    ],
)
def test_slots_follow_memory_and_model(text: MistralConfig, gib: int, wanted: int) -> None:
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**TOWER), text_config=text, image_grid_pinpoints=GRIDS
    )
    assert slots_that_fit(gib * GIB, config, 2.0) == wanted


def test_on_a_cpu_pictures_are_prepared_by_the_threads_that_wait() -> None:
    assert slots(Settings(device="cpu")) == 32
    assert preprocess_processes(Settings(device="cpu")) == 0
    assert 1 <= preprocess_processes(Settings(device="cuda")) <= 8


def test_what_is_set_is_taken() -> None:
    settings = Settings(slots=7, preprocess_processes=3)
    assert (slots(settings), preprocess_processes(settings)) == (7, 3)
