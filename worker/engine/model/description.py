"""What an engine must know of a LLaVA-NeXT checkpoint beside its weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from transformers import AutoConfig, GenerationConfig, LlavaNextProcessor
from transformers.models.llava_next.image_processing_pil_llava_next import (
    LlavaNextImageProcessorPil,
)

from worker.engine.errors import ModelError
from worker.engine.vision.images import Tiling


@dataclass(frozen=True)
class Description:
    """A checkpoint without its weights.

    `levels` float32 [3, 256] is the normalised value of each channel level; `context` is the most
    tokens, prompt and answer together, that the model can attend over; `eos` are the tokens that
    end an answer.
    """

    config: Any
    processor: Any
    tiling: Tiling
    levels: np.ndarray[Any, np.dtype[np.float32]]
    context: int
    eos: frozenset[int]


def describe(model: str | Path, revision: str | None = None) -> Description:
    """Read a checkpoint's description by hub name or folder; no code of the checkpoint is run.

    Raises ModelError with one line that names cause and cure.
    """
    where: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
    _check_folder(model)
    config = _config(model, where)
    try:
        processor = LlavaNextProcessor.from_pretrained(model, **where)
        pixels = LlavaNextImageProcessorPil.from_pretrained(model, **where)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise ModelError(
            f"The processor of {model} cannot be loaded; the folder needs the tokenizer's files "
            f"and preprocessor_config.json ({named(error)})."
        ) from error
    try:
        generation = GenerationConfig.from_pretrained(model, **where)
    except OSError:
        generation = GenerationConfig.from_model_config(config)
    return described(config, generation, processor, pixels, name=str(model))


def described(
    config: Any, generation: Any, processor: Any, pixels: Any, *, name: str
) -> Description:
    """Put a description together; `pixels` is the Pillow image processor.

    Raises ModelError if there is no chat template or the picture settings contradict each other.
    """
    if not processor.chat_template:
        raise ModelError(
            f"{name} has no chat template; add chat_template.jinja to it (the llava-hf "
            "checkpoints have one)."
        )
    context = context_of(config)
    if getattr(config.text_config, "sliding_window", None) is not None:
        # Within its window a sliding attention equals a full one, which can share prefixes.
        config.text_config.sliding_window = None
    return Description(
        config=config,
        processor=processor,
        tiling=_tiling(config, pixels, name),
        levels=_levels(pixels),
        context=context,
        eos=_eos(generation, processor.tokenizer),
    )


def _check_folder(model: str | Path) -> None:
    folder = Path(model)
    looks_like_path = isinstance(model, Path) or str(model).startswith((".", "/", "~"))
    if not folder.is_dir():
        if looks_like_path:
            raise ModelError(f"There is no folder {model}; give a hub name or an existing folder.")
        return
    if not (folder / "config.json").is_file():
        raise ModelError(f"The folder {model} has no config.json, so it holds no model.")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"The folder {model} has no .safetensors file; convert the weights to safetensors, "
            "other formats can carry code and are not loaded."
        )


def _config(model: str | Path, where: dict[str, Any]) -> Any:
    try:
        config = AutoConfig.from_pretrained(model, **where)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"The configuration of {model} cannot be read; check the name, the revision and the "
            f"network ({named(error)})."
        ) from error
    if config.model_type != "llava_next":
        raise ModelError(
            f"{model} is a {config.model_type} model; this engine serves LLaVA-NeXT "
            "(LLaVA 1.6) models, whose model_type is llava_next."
        )
    return config


def context_of(config: Any) -> int:
    """The most tokens that a model can attend over in full."""
    text = config.text_config
    window = getattr(text, "sliding_window", None)
    return int(min(text.max_position_embeddings, window or text.max_position_embeddings))


def tiling_of(config: Any, resample: int = Image.Resampling.BICUBIC) -> Tiling:
    """How a model's configuration has pictures cut."""
    vision = config.vision_config
    grids = tuple((int(height), int(width)) for height, width in config.image_grid_pinpoints)
    return Tiling(vision.image_size, grids, vision.image_size // vision.patch_size, resample)


def _tiling(config: Any, pixels: Any, name: str) -> Tiling:
    """The checkpoint's tiling; the model's own configuration is the truth that features follow."""
    tiling = tiling_of(config, int(pixels.resample))
    cropped = pixels.crop_size
    if (cropped.height, cropped.width) != (tiling.tile, tiling.tile) or tuple(
        tuple(grid) for grid in pixels.image_grid_pinpoints
    ) != tiling.grids:
        raise ModelError(
            f"{name}: preprocessor_config.json and config.json disagree about tile size or "
            "image_grid_pinpoints; restore the files that belong together."
        )
    return tiling


def _levels(pixels: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8), (3, 1, 256))
    scaled = pixels.rescale(ramp, pixels.rescale_factor)
    values = pixels.normalize(scaled, pixels.image_mean, pixels.image_std)
    return np.ascontiguousarray(values[:, 0], dtype=np.float32)


def _eos(generation: Any, tokenizer: Any) -> frozenset[int]:
    ids = generation.eos_token_id
    if ids is None:
        ids = tokenizer.eos_token_id
    return frozenset(ids if isinstance(ids, list) else [ids]) - {None}


def named(error: Exception) -> str:
    """An error's type, and its first line in brief."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"
