"""A checkpoint with the tensor names of the released ones, which other engines look for."""

from __future__ import annotations

import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

_WEIGHTS = "model.safetensors"
_SAVED, _RELEASED = "vision_tower.", "vision_tower.vision_model."


def released_name(name: str) -> str:
    """Return the name that a tensor has in a released checkpoint.

    transformers 5.23 saves the vision tower without a level that released checkpoints have.
    """
    saved = name.startswith(_SAVED) and not name.startswith(_RELEASED)
    return _RELEASED + name.removeprefix(_SAVED) if saved else name


def with_released_names(model: Path) -> Path:
    """Write a checkpoint of one file beside itself under released names, once; its folder."""
    folder = model.with_name(f"{model.name}-released")
    if not (folder / _WEIGHTS).exists():
        shutil.copytree(model, folder, ignore=shutil.ignore_patterns(_WEIGHTS), dirs_exist_ok=True)
        weights = {released_name(name): w for name, w in load_file(model / _WEIGHTS).items()}
        save_file(weights, folder / _WEIGHTS, metadata={"format": "pt"})
    return folder
