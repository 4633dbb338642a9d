"""Loading a LLaVA-NeXT checkpoint: weights, processor, and what the engine must know of them."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from transformers import AutoConfig, LlavaNextForConditionalGeneration, LlavaNextProcessor
from transformers.models.llava_next.image_processing_pil_llava_next import (
    LlavaNextImageProcessorPil,
)

from worker.engine.errors import ModelError
from worker.engine.model import quantization
from worker.engine.model.quantization import Quantize
from worker.engine.vision.images import Tiling


@dataclass(frozen=True)
class Loaded:
    """A model ready to serve.

    `levels` float32 [3, 256] is the normalised value of each channel level; `context` is the most
    tokens, prompt and answer together, that the model can attend over; `eos` are the tokens that
    end an answer.
    """

    model: Any
    processor: Any
    tiling: Tiling
    levels: np.ndarray[Any, np.dtype[np.float32]]
    context: int
    eos: frozenset[int]


def device_of(device: str) -> str:
    """The device that a name means: "auto" is the GPU where there is one."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def load(
    model: str | Path,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    quantize: Quantize = "none",
) -> Loaded:
    """Load a checkpoint by hub name or folder: safetensors only, no code from the checkpoint.

    `device` "auto" is the GPU where there is one; `dtype` "auto" is bfloat16 on a GPU and float32
    on a CPU, whose half precision is slow; `quantize` says how the language model's weights are
    held. Raises ModelError with one line that names cause and cure.
    """
    device = device_of(device)
    if dtype == "auto":
        dtype = "float32" if device == "cpu" else "bfloat16"
    quantization.check(quantize, device, dtype)
    # What is not quantised first goes straight to a GPU: host memory need not hold it, too.
    straight = {"device_map": device} if device != "cpu" and quantize == "none" else {}
    weights, processor, pixels = _read(model, revision, dtype=dtype, **straight)
    quantization.quantize(weights, quantize, device)
    return assemble(weights, processor, pixels, name=str(model), device=device)


def load_spread(
    model: str | Path,
    *,
    revision: str | None = None,
    dtype: str = "auto",
    device_map: str | Mapping[str, int | str] = "auto",
) -> Loaded:
    """Load a checkpoint as `load` does, its layers where accelerate puts them by `device_map`.

    Layers on "disk" stay in the checkpoint's own files. Raises ModelError.
    """
    if dtype == "auto":
        dtype = "bfloat16" if torch.cuda.is_available() else "float32"
    with warnings.catch_warnings():
        # image_newline is a lone parameter, which accelerate places and then fails to recognise.
        warnings.filterwarnings("ignore", "The following device_map keys do not match")
        parts = _read(model, revision, dtype=dtype, device_map=device_map)
    return assemble(*parts, name=str(model), device=None)


def _read(model: str | Path, revision: str | None, **options: Any) -> tuple[Any, Any, Any]:
    """Read weights, processor and Pillow image processor; `options` are for the weights."""
    where: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
    _check_folder(model)
    _check_config(model, where)
    try:
        weights = LlavaNextForConditionalGeneration.from_pretrained(
            model, use_safetensors=True, **options, **where
        )
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise ModelError(
            f"{model} does not fit into the memory of this machine's devices; free some, quantise "
            "it, or use a machine with more."
        ) from error
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"The weights of {model} cannot be loaded; the engine needs safetensors files that "
            f"match config.json ({_first_line(error)})."
        ) from error
    try:
        processor = LlavaNextProcessor.from_pretrained(model, **where)
        pixels = LlavaNextImageProcessorPil.from_pretrained(model, **where)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise ModelError(
            f"The processor of {model} cannot be loaded; the folder needs the tokenizer's files "
            f"and preprocessor_config.json ({_first_line(error)})."
        ) from error
    return weights, processor, pixels


def assemble(weights: Any, processor: Any, pixels: Any, *, name: str, device: str | None) -> Loaded:
    """Put a loaded model and its processors together; `pixels` is the Pillow image processor.

    `device` None leaves the weights where they are. Raises ModelError if there is no chat template
    or the picture settings contradict each other.
    """
    if not processor.chat_template:
        raise ModelError(
            f"{name} has no chat template; add chat_template.jinja to it (the llava-hf "
            "checkpoints have one)."
        )
    config = weights.config
    context = config.text_config.max_position_embeddings
    window = getattr(config.text_config, "sliding_window", None)
    if window is not None:
        # Within its window a sliding attention equals a full one, which can share prefixes.
        context = min(context, window)
        config.text_config.sliding_window = None
    try:
        weights = weights.eval() if device is None else weights.to(device).eval()
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"{name} does not fit into the memory of {device}; quantise it, spread it over several "
            "devices, or use a larger one."
        ) from error
    return Loaded(
        model=weights,
        processor=processor,
        tiling=_tiling(config, pixels, name),
        levels=_levels(pixels),
        context=context,
        eos=_eos(weights.generation_config, processor.tokenizer),
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


def _check_config(model: str | Path, where: dict[str, Any]) -> None:
    try:
        config = AutoConfig.from_pretrained(model, **where)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"The configuration of {model} cannot be read; check the name, the revision and the "
            f"network ({_first_line(error)})."
        ) from error
    if config.model_type != "llava_next":
        raise ModelError(
            f"{model} is a {config.model_type} model; this engine serves LLaVA-NeXT "
            "(LLaVA 1.6) models, whose model_type is llava_next."
        )


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


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"
