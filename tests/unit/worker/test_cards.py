"""What a GPU cannot do is refused at the start, with the nearest settings that it can do."""

from pathlib import Path
from typing import Any

import pytest
import torch

from bench import sizing
from bench.model import configuration
from bench.shape import MISTRAL_7B, VICUNA_7B, VICUNA_13B, YI_34B, Shape
from demo.model import WEIGHTS
from jobs.settings import Settings
from worker.cards import Card, Form, check, check_form
from worker.engine import Engine, ModelError
from worker.hardware import largest_step
from worker.loading import load_engine

README = Path(__file__).parents[3] / "README.md"
GIB = 2**30
PLAIN = Form("bfloat16", False, "none")
OLD = Form("float16", True, "nf4")
CUDA_12, CUDA_13 = (
    ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"),
    ("sm_75", "sm_80"),
)


def card(capability: tuple[int, int], gib: float, built_for: tuple[str, ...] = ()) -> Card:
    return Card("cuda:0", capability, int(gib * GIB), built_for)


def form(**settings: Any) -> Form:
    return Form(**{**vars(PLAIN), **settings})


def refusal(on: Card, shape: Shape, wanted: Form) -> str:
    with pytest.raises(ModelError) as caught:
        check_form(on, "the model", configuration(shape), wanted)
    assert "\n" not in caught.value.message
    return caught.value.message


# What the models' own pages promise


@pytest.mark.parametrize(
    ("on", "shape", "wanted"),
    [
        (card((8, 6), 7.5), MISTRAL_7B, form(quantize="nf4")),
        (card((8, 6), 7.5), MISTRAL_7B, form(quantize="int4")),
        (card((8, 6), 7.5), VICUNA_7B, form(quantize="nf4")),
        (card((6, 1), 10.5, CUDA_12), MISTRAL_7B, OLD),
        (card((6, 1), 10.5, CUDA_12), VICUNA_7B, OLD),
        (card((7, 5), 15.0), VICUNA_13B, form(quantize="nf4", dtype="float16")),
        (card((8, 9), 15.5), VICUNA_13B, form(quantize="nf4")),
        (card((8, 6), 23.5), YI_34B, form(quantize="nf4")),
        (card((9, 0), 139), YI_34B, PLAIN),
    ],
)
def test_a_card_that_can_is_not_refused(on: Card, shape: Shape, wanted: Form) -> None:
    check_form(on, "the model", configuration(shape), wanted)


def test_the_readme_has_the_models_and_the_cards_of_the_plan() -> None:
    readme = README.read_text()
    assert sizing.hardware() in readme, "python -m bench.sizing prints the rows"
    assert sizing.markdown(served.row() for served in sizing.SERVED) in readme
    for served in sizing.SERVED:
        served.check()


# Refusals


@pytest.mark.parametrize(
    ("on", "shape", "wanted", "cause", "cure"),
    [
        (card((8, 6), 7.5), MISTRAL_7B, PLAIN, "takes 15.1 GiB unquantised", "QUANTIZE=int4"),
        (card((8, 9), 15), MISTRAL_7B, PLAIN, "unquantised", "QUANTIZE=fp8"),
        (card((8, 6), 15), MISTRAL_7B, PLAIN, "unquantised", "QUANTIZE=int8"),
        (card((8, 6), 15), MISTRAL_7B, form(quantize="fp8"), "fp8 needs capability 8.9", "int8"),
        (card((8, 6), 23.5), YI_34B, form(quantize="int8"), "35.9 GiB in int8", "QUANTIZE=int4"),
        (
            card((7, 5), 15),
            VICUNA_13B,
            form(quantize="int4", dtype="float16"),
            "int4 needs capability 8.0",
            "QUANTIZE=nf4",
        ),
        (
            card((8, 6), 15),
            VICUNA_13B,
            form(quantize="int4", dtype="float16"),
            "int4 needs bfloat16",
            "QUANTIZE=nf4",
        ),
        (
            card((7, 5), 15),
            MISTRAL_7B,
            form(quantize="nf4"),
            "bfloat16 needs capability 8.0",
            "set LLAVA_JOBS_DTYPE=float16.",
        ),
        (
            card((6, 1), 10.5, CUDA_12),
            MISTRAL_7B,
            form(quantize="nf4"),
            "bfloat16 needs capability 8.0, the fast kernels need capability 7.0",
            "set LLAVA_JOBS_DTYPE=float16 LLAVA_JOBS_SLOW_ATTENTION=true.",
        ),
        (
            card((6, 1), 12, CUDA_12),
            VICUNA_13B,
            PLAIN,
            "unquantised",
            "DTYPE=float16 LLAVA_JOBS_SLOW_ATTENTION=true LLAVA_JOBS_QUANTIZE=nf4",
        ),
        (
            card((8, 6), 23),
            MISTRAL_7B,
            form(dtype="float32"),
            "need 16-bit numbers",
            "DTYPE=bfloat16.",
        ),
        (
            card((5, 2), 11.5, CUDA_12),
            MISTRAL_7B,
            OLD,
            "nf4 needs capability 6.0",
            "QUANTIZE=int8",
        ),
    ],
)
def test_what_it_cannot_do_is_said_with_the_nearest_that_it_can(
    on: Card, shape: Shape, wanted: Form, cause: str, cure: str
) -> None:
    said = refusal(on, shape, wanted)
    before, after = said.split("; set ")
    assert cause in before
    assert cure in f"set {after}"
    assert "{}.{}".format(*on.capability) in before


def test_too_many_slots_for_a_card_become_fewer_before_weights_lose_bits() -> None:
    said = refusal(card((8, 6), 18), MISTRAL_7B, form(slots=256))
    assert "takes 20.6 GiB unquantised with 256 slots" in said
    assert said.endswith("set LLAVA_JOBS_SLOTS=4.")
    check_form(card((8, 6), 18), "the model", configuration(MISTRAL_7B), PLAIN)


def test_the_nearest_that_it_can_is_not_refused_itself() -> None:
    on = card((7, 5), 14)
    said = refusal(on, VICUNA_13B, PLAIN)
    assert "DTYPE=float16 LLAVA_JOBS_QUANTIZE=nf4." in said
    check_form(on, "the model", configuration(VICUNA_13B), form(dtype="float16", quantize="nf4"))


def test_a_model_that_no_setting_makes_fit_needs_a_larger_card() -> None:
    said = refusal(card((8, 6), 7.5), YI_34B, form(quantize="nf4"))
    assert "7.5 GiB free and the model takes" in said
    assert "20.3 GiB in int4 with 4 slots, the least that it can do" in said
    assert "use a larger GPU" in said


@pytest.mark.parametrize(
    ("capability", "built_for", "build"),
    [
        ((6, 1), CUDA_13, "CUDA 12.6"),
        ((7, 0), CUDA_13, "CUDA 12.6"),
        ((10, 0), CUDA_12, "a newer CUDA"),
        ((8, 0), ("sm_86", "sm_90a"), "a newer CUDA"),
    ],
)
def test_a_torch_without_kernels_for_a_card_is_refused(
    capability: tuple[int, int], built_for: tuple[str, ...], build: str
) -> None:
    said = refusal(card(capability, 40, built_for), MISTRAL_7B, PLAIN)
    assert f"no kernels ({' '.join(built_for)}); install torch's build for {build}" in said


@pytest.mark.parametrize(
    ("capability", "built_for"),
    [
        ((8, 6), ("sm_80",)),
        ((8, 9), CUDA_12),
        ((12, 0), ("sm_90", "compute_90")),
        ((9, 0), CUDA_12),
    ],
)
def test_kernels_for_an_older_card_of_a_generation_serve_it(
    capability: tuple[int, int], built_for: tuple[str, ...]
) -> None:
    assert card(capability, 40, built_for).has_kernels


# At a worker's start


@pytest.fixture
def old_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU of capability 6.1 with 2 GiB free."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2 * GIB, 11 * GIB))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (6, 1))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: list(CUDA_12))


@pytest.mark.usefixtures("old_card")
def test_a_worker_refuses_before_it_reads_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "load", lambda *_, **__: pytest.fail("weights are read"))
    with pytest.raises(ModelError, match="set LLAVA_JOBS_DTYPE=float16 LLAVA_JOBS_SLOW_ATTENTION"):
        load_engine(Settings(model=str(WEIGHTS), device="cuda:0", slots=2))


@pytest.mark.usefixtures("old_card")
def test_a_worker_takes_the_steps_that_its_card_has_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(Engine, "load", lambda _, **options: asked.update(options))
    settings = Settings(
        model=str(WEIGHTS), device="cuda:0", dtype="float16", slow_attention=True, slots=2
    )
    load_engine(settings)
    limits = asked["limits"]
    assert (limits.step_tokens, limits.tiles_per_pass) == largest_step(settings) == (8192, 64)


def test_a_cpu_is_not_looked_at() -> None:
    check(Settings(device="cpu", quantize="nf4"))
    assert largest_step(Settings(device="cpu")) == (None, None)
