"""Loading a LLaVA-NeXT checkpoint for the engine of ours: its description and its weights."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import LlavaNextForConditionalGeneration

from worker.engine.errors import ModelError
from worker.engine.model import quantization
from worker.engine.model.description import Description, describe, described, named
from worker.engine.model.quantization import Quantize


@dataclass(frozen=True)
class Loaded(Description):
    """A model ready to serve."""

    model: Any


def device_of(device: str) -> str:
    """The device that a name means: "auto" is the GPU where there is one."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def dtype_of(dtype: str, device: str) -> str:
    """The precision that a name means: "auto" is bfloat16 on a GPU and float32 on a CPU."""
    if dtype != "auto":
        return dtype
    return "float32" if device == "cpu" else "bfloat16"


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
    dtype = dtype_of(dtype, device)
    quantization.check(quantize, device, dtype)
    if quantize == "none":
        # Straight to a GPU: host memory need not hold it, too.
        straight = {"device_map": device} if device != "cpu" else {}
        description, weights = _read(model, revision, dtype=dtype, **straight)
    else:
        # As it was saved: then host memory need not hold it either, for it stays in its file.
        description, weights = _read(model, revision, dtype="auto")
        quantization.quantize(weights, quantize, device, getattr(torch, dtype))
        _convert(weights, getattr(torch, dtype))
    return _placed(description, weights, str(model), device)


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
        description, weights = _read(model, revision, dtype=dtype, device_map=device_map)
    return _placed(description, weights, str(model), None)


def _read(model: str | Path, revision: str | None, **options: Any) -> tuple[Description, Any]:
    """Read a checkpoint's description and its weights; `options` are for the weights."""
    description = describe(model, revision)
    try:
        weights = LlavaNextForConditionalGeneration.from_pretrained(
            model,
            config=description.config,
            revision=revision,
            trust_remote_code=False,
            use_safetensors=True,
            **options,
        )
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise ModelError(
            f"{model} does not fit into the memory of this machine's devices; free some, quantise "
            "it, or use a machine with more."
        ) from error
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"The weights of {model} cannot be loaded; the engine needs safetensors files that "
            f"match config.json ({named(error)})."
        ) from error
    return description, weights


def _convert(weights: Any, dtype: torch.dtype) -> None:
    """Give what was not quantised its precision; buffers keep theirs, as when they are read."""
    for parameter in weights.parameters():
        if type(parameter.data) is torch.Tensor:
            parameter.data = parameter.data.to(dtype)


def assemble(weights: Any, processor: Any, pixels: Any, *, name: str, device: str | None) -> Loaded:
    """Put a loaded model and its processors together; `pixels` is the Pillow image processor.

    `device` None leaves the weights where they are. Raises ModelError if there is no chat template
    or the picture settings contradict each other.
    """
    facts = described(weights.config, weights.generation_config, processor, pixels, name=name)
    return _placed(facts, weights, name, device)


def _placed(description: Description, weights: Any, name: str, device: str | None) -> Loaded:
    """A description and weights, on their device."""
    try:
        weights = weights.eval() if device is None else weights.to(device).eval()
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"{name} does not fit into the memory of {device}; quantise it, spread it over several "
            "devices, or use a larger one."
        ) from error
    return Loaded(**vars(description), model=weights)
