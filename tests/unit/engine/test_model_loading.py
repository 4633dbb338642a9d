"""A checkpoint is served or refused with one line that says why and what to do."""

import json
from pathlib import Path

import pytest
import torch

from tests.unit.engine.conftest import Checkpoint, ask, paint
from worker.engine import Engine, Limits, ModelError
from worker.engine.model import loading


@pytest.fixture
def folder(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    checkpoint.model.save_pretrained(tmp_path)
    checkpoint.processor.save_pretrained(tmp_path)
    return tmp_path


def test_a_saved_checkpoint_answers_as_before(folder: Path, checkpoint: Checkpoint) -> None:
    engine = Engine.load(folder, device="cpu", limits=Limits(slots=2))
    request = ask(paint(100, 50), "?")
    tokens = engine.submit(request).result().token_ids
    engine.close()
    assert list(tokens) == checkpoint.generate(request)


def edit(folder: Path, name: str, **values: object) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def refusal(folder: Path | str) -> str:
    with pytest.raises(ModelError) as caught:
        loading.load(folder, device="cpu")
    assert "\n" not in caught.value.message
    return caught.value.message


def test_a_missing_folder(tmp_path: Path) -> None:
    assert "no folder" in refusal(tmp_path / "nowhere")


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    assert "config.json" in refusal(tmp_path)


def test_weights_that_are_not_safetensors(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "safetensors" in refusal(folder)


def test_damaged_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"damaged")
    assert "weights" in refusal(folder)


def test_another_kind_of_model(folder: Path) -> None:
    edit(folder, "config.json", model_type="llava")
    assert "LLaVA-NeXT" in refusal(folder)


def test_a_missing_chat_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    assert "chat template" in refusal(folder)


def test_a_missing_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    assert "processor" in refusal(folder)


def test_pictures_cut_otherwise_than_the_model_expects(folder: Path) -> None:
    edit(folder, "config.json", image_grid_pinpoints=[[64, 64]])
    assert "disagree" in refusal(folder)


def test_processor_files_of_older_checkpoints_lack_what_the_model_knows(
    folder: Path, checkpoint: Checkpoint
) -> None:
    pixels = json.loads((folder / "processor_config.json").read_text())["image_processor"]
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels))
    (folder / "processor_config.json").unlink()
    template = folder / "chat_template.jinja"
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template.read_text()}))
    template.unlink()
    engine = Engine.load(folder, device="cpu", limits=Limits(slots=2))
    request = ask(paint(100, 50), "?")
    tokens = engine.submit(request).result().token_ids
    engine.close()
    assert list(tokens) == checkpoint.generate(request)


def test_a_sliding_window_bounds_the_context_and_leaves_prefix_sharing_on(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    edit(folder, "config.json", text_config={**config["text_config"], "sliding_window": 512})
    loaded = loading.load(folder, device="cpu")
    assert loaded.context == 512
    engine = Engine(loaded, Limits(slots=2))
    engine.submit(ask(paint(100, 50), "?")).result()
    again = engine.submit(ask(paint(100, 50), "?")).result()
    engine.close()
    assert again.cached_tokens > 0


def test_a_model_that_does_not_fit_the_device(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(type(checkpoint.model), "to", full)
    with pytest.raises(ModelError, match="does not fit into the memory of cpu; quantise it"):
        checkpoint.loaded()


def test_a_cache_that_does_not_fit_into_memory(checkpoint: Checkpoint) -> None:
    with pytest.raises(ModelError, match="does not fit"):
        Engine(checkpoint.loaded(), Limits(cache_tokens=10**12))
