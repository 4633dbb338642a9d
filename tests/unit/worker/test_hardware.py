"""A worker takes on what its machine and its model can bear, unless it is told."""

import pytest
import torch

from bench.model import configuration
from bench.shape import MISTRAL_7B, VICUNA_7B, VICUNA_13B, Shape
from jobs.settings import Settings
from worker.hardware import preprocess_processes, slots, slots_that_fit

GIB = 2**30


@pytest.mark.parametrize(
    ("shape", "gib", "wanted"),
    [
        (MISTRAL_7B, 139, 225),  # a share of what the weights leave, at 453 MiB a job
        (MISTRAL_7B, 78, 115),
        (MISTRAL_7B, 22, 13),
        (VICUNA_7B, 139, 59),
        (VICUNA_13B, 78, 15),
        (VICUNA_13B, 30, 4),
    ],
)
def test_slots_follow_memory_and_model(shape: Shape, gib: int, wanted: int) -> None:
    assert slots_that_fit(gib * GIB, configuration(shape), "none", torch.bfloat16) == wanted


def test_fewer_bits_leave_room_for_more_jobs() -> None:
    whole, less = (
        slots_that_fit(22 * GIB, configuration(MISTRAL_7B), mode, torch.bfloat16)
        for mode in ("none", "nf4")
    )
    assert less > 2 * whole


def test_on_a_cpu_pictures_are_prepared_by_the_threads_that_wait() -> None:
    assert slots(Settings(device="cpu")) == 32
    assert preprocess_processes(Settings(device="cpu")) == 0
    assert 1 <= preprocess_processes(Settings(device="cuda")) <= 8


def test_what_is_set_is_taken() -> None:
    settings = Settings(slots=7, preprocess_processes=3)
    assert (slots(settings), preprocess_processes(settings)) == (7, 3)
