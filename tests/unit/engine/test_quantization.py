"""Fewer bits a weight: less memory, the same answers, and a refusal where it cannot work."""

import shutil
import sys
import weakref
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchao.utils import get_model_size_in_bytes
from transformers import LlavaNextForConditionalGeneration, LlavaNextProcessor

from demo import evaluate
from demo.drawing import draw
from demo.model import WEIGHTS
from demo.questions import KINDS, LANGUAGES
from tests.unit.engine.conftest import Checkpoint, ask, encoded, paint
from worker.engine import Engine, Limits, ModelError
from worker.engine.model import loading, quantization
from worker.engine.model.quantization import Quantize


@pytest.fixture(scope="module", params=["int8", "nf4"])
def mode(request: pytest.FixtureRequest) -> Quantize:
    """What runs on a CPU, too."""
    mode: Quantize = request.param
    return mode


@pytest.fixture(scope="module")
def quantized(mode: Quantize) -> Checkpoint:
    """The demo model in fewer bits as plain transformers runs it."""
    model = LlavaNextForConditionalGeneration.from_pretrained(WEIGHTS).eval()
    quantization.quantize(model, mode, "cpu")
    return Checkpoint(model, LlavaNextProcessor.from_pretrained(WEIGHTS))


@pytest.fixture(scope="module")
def engine(mode: Quantize) -> Iterator[Engine]:
    """An engine on the demo model in fewer bits."""
    engine = Engine.load(WEIGHTS, device="cpu", quantize=mode, limits=Limits(slots=16))
    yield engine
    engine.close()


def linears(module: Any) -> dict[str, nn.Linear]:
    return {name: m for name, m in module.named_modules() if isinstance(m, nn.Linear)}


def is_plain(linear: nn.Linear) -> bool:
    return type(linear.weight.data) is torch.Tensor


def size(module: Any) -> int:
    """The bytes of a module's weights as they are held."""
    return int(get_model_size_in_bytes(module))


def test_answers_equal_those_of_the_same_weights_in_generate(
    engine: Engine, quantized: Checkpoint
) -> None:
    requests = [
        ask(paint(*shape), question, max_new_tokens=24, ignore_eos=False)
        for shape in ((90, 200), (200, 90), (128, 128))
        for question in ("What colour is the light?", "按钮有几个？")
    ]
    results = [handle.result() for handle in [engine.submit(request) for request in requests]]
    assert [list(r.token_ids) for r in results] == [quantized.generate(r) for r in requests]


def test_the_demo_model_still_answers_as_it_was_trained_to(engine: Engine) -> None:
    cases = [
        case
        for kind in KINDS
        for language in LANGUAGES
        for case in islice(evaluate.held_out(kind, language), 8)
    ]
    handles = [
        engine.submit(ask(encoded(draw(scene)), question.text, max_new_tokens=32, ignore_eos=False))
        for scene, question in cases
    ]
    said = [handle.result().text.strip() for handle in handles]
    right = [answer == question.truth for answer, (_, question) in zip(said, cases, strict=True)]
    assert sum(right) >= 0.95 * len(cases)


def test_the_language_models_layers_take_a_quarter_of_float32(quantized: Checkpoint) -> None:
    whole = loading.load(WEIGHTS, device="cpu").model
    before, after = (size(m.model.language_model.layers) for m in (whole, quantized.model))
    assert after < 0.3 * before
    assert size(quantized.model) < size(whole) - 0.7 * before


def test_everything_else_stays_as_it_is(quantized: Checkpoint) -> None:
    whole = LlavaNextForConditionalGeneration.from_pretrained(WEIGHTS)
    plain = {name for name, m in linears(quantized.model).items() if is_plain(m)}
    inner = {f"model.language_model.{name}" for name in linears(whole.model.language_model)}
    assert linears(whole).keys() - plain == inner
    assert len(inner) == 7 * len(whole.model.language_model.layers)


def test_a_checkpoint_stays_in_its_file_until_its_layers_are_quantised(
    mode: Quantize, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So main memory need not hold a model that is larger; the released ones are in float16."""
    shutil.copytree(WEIGHTS, tmp_path, dirs_exist_ok=True)
    saved = LlavaNextForConditionalGeneration.from_pretrained(WEIGHTS, dtype=torch.float16)
    saved.save_pretrained(tmp_path)
    quantize = quantization.quantize

    def look(model: Any, *rest: Any) -> None:
        mapped.update(
            any(start <= m.weight.data_ptr() < end for start, end in mappings(tmp_path))
            for m in linears(model.model.language_model).values()
        )
        quantize(model, *rest)

    mapped: set[bool] = set()
    monkeypatch.setattr(quantization, "quantize", look)
    model = loading.load(tmp_path, device="cpu", dtype="bfloat16", quantize=mode).model
    assert mapped == {True}
    assert {p.dtype for p in model.parameters() if type(p.data) is torch.Tensor} == {torch.bfloat16}
    assert model.dtype == torch.bfloat16
    assert model.model.language_model.rotary_emb.inv_freq.dtype == torch.float32
    output = model(input_ids=torch.full((1, 8), 300))
    assert output.logits.dtype == torch.bfloat16


@pytest.mark.parametrize("kind", ["fp8", "nf4"])
def test_a_device_holds_one_layer_in_full_at_a_time(
    kind: Quantize, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a model that fits only in fewer bits never has to be there whole."""
    whole = LlavaNextForConditionalGeneration.from_pretrained(WEIGHTS, dtype=torch.bfloat16)
    given: list[weakref.ref[nn.Linear]] = []
    holder = quantization._holder

    def watched(*options: Any) -> Any:
        hold = holder(*options)

        def watch(linear: nn.Linear) -> nn.Module:
            given.append(weakref.ref(linear))
            assert sum(each() is not None for each in given) <= 2
            return hold(linear)

        return watch

    monkeypatch.setattr(quantization, "_holder", watched)
    quantization.quantize(whole, kind, "cpu")
    assert len(given) == 7 * len(whole.model.language_model.layers)


def mappings(folder: Path) -> list[tuple[int, int]]:
    """Where this process has the safetensors files of a folder in its memory."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    spans = [line.split()[0].split("-") for line in lines if str(folder) in line]
    return [(int(start, 16), int(end, 16)) for start, end in spans]


# Refusals


def refusal(mode: Any, **options: str) -> str:
    with pytest.raises(ModelError) as caught:
        loading.load(WEIGHTS, quantize=mode, **options)
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    ("mode", "least", "instead"), [("int4", "8.0", "nf4"), ("fp8", "8.9", "int8")]
)
def test_a_mode_for_gpus_is_refused_on_a_cpu(mode: str, least: str, instead: str) -> None:
    message = refusal(mode, device="cpu")
    assert f"capability {least}" in message
    assert "cpu is none" in message
    assert f"use {instead}" in message


def test_a_gpu_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 6))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert "8.9 or more and cuda:1 has 8.6" in refusal("fp8", device="cuda:1")
    assert "needs bfloat16" in refusal("int4", device="cuda:1", dtype="float16")
    quantization.check("int4", "cuda:1", "bfloat16")


@pytest.mark.parametrize(
    ("mode", "package"), [("int8", "torchao.quantization"), ("nf4", "bitsandbytes.functional")]
)
def test_a_missing_package_is_named(
    mode: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert "pip install 'llava-jobs[quantize]'" in refusal(mode, device="cpu")


def test_a_model_that_does_not_fit_in_fewer_bits_either_is_refused(
    mode: Quantize, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: nn.Linear) -> nn.Module:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(quantization, "_holder", lambda *_: full)
    whole = LlavaNextForConditionalGeneration.from_pretrained(WEIGHTS)
    with pytest.raises(ModelError, match=f"does not fit cpu in {mode} either"):
        quantization.quantize(whole, mode, "cpu")
