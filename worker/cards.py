"""What a GPU cannot do, said at the start with the nearest settings that it can do."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import torch

from jobs.settings import Settings
from worker.engine import ModelError
from worker.engine.attention.gpu import FLASH_CAPABILITY, LEAST_CAPABILITY
from worker.engine.memory import FEWEST_SLOTS, Plan, plan
from worker.engine.model.loading import device_of, dtype_of
from worker.engine.model.quantization import CAPABILITY, IN_BFLOAT16, Quantize
from worker.hardware import config_of

BY_SIZE: tuple[Quantize, ...] = ("none", "fp8", "int8", "int4", "nf4")
"""From the most memory to the least, or nearly the least where the last needs no new GPU."""

OLDEST_OF_NEW_BUILDS = (7, 5)
"""The least capability that torch's builds for CUDA 13 have kernels for; the one for CUDA 12.6 goes
back to 5.0 (pytorch's RELEASE.md, support matrix of 2.12)."""


@dataclass(frozen=True)
class Card:
    """A GPU as a process finds it: its free bytes, and the architectures that torch was built for,
    as in "sm_75"."""

    name: str
    capability: tuple[int, int]
    free: int
    built_for: tuple[str, ...]

    @classmethod
    def of(cls, device: str) -> Card:
        """The one that a device of torch is."""
        free, _ = torch.cuda.mem_get_info(device)
        capability = torch.cuda.get_device_capability(device)
        return cls(device, capability, free, tuple(torch.cuda.get_arch_list()))

    @property
    def has_kernels(self) -> bool:
        """Whether torch's kernels run here: machine code serves its own generation from its own
        number on, intermediate code (`compute_`) all that came later."""
        for kind, major, minor in re.findall(r"(sm|compute)_(\d+)(\d)", " ".join(self.built_for)):
            built = int(major), int(minor)
            if built <= self.capability and (kind == "compute" or built[0] == self.capability[0]):
                return True
        return False


@dataclass(frozen=True)
class Form:
    """The settings by which a model is held and run on a GPU."""

    dtype: str
    slow_attention: bool
    quantize: Quantize
    slots: int = FEWEST_SLOTS

    def differing(self, wanted: Form) -> str:
        """The settings in which it differs from what was wanted, as an environment has them."""
        pairs = {
            "DTYPE": (self.dtype, wanted.dtype),
            "SLOW_ATTENTION": (self.slow_attention, wanted.slow_attention),
            "QUANTIZE": (self.quantize, wanted.quantize),
            "SLOTS": (self.slots, wanted.slots),
        }
        changed = {key: str(mine) for key, (mine, its) in pairs.items() if mine != its}
        return " ".join(f"LLAVA_JOBS_{key}={value.lower()}" for key, value in changed.items())

    def plan(self, config: Any) -> Plan:
        """The plan of its memory."""
        return plan(
            *(config, self.quantize, getattr(torch, self.dtype), self.slots),
            slow_attention=self.slow_attention,
        )


def check(settings: Settings) -> None:
    """Raise ModelError, with the nearest settings that would do, for what the GPU in ``settings``
    cannot do with their model; a CPU, or a model without a configuration, is not looked at."""
    place = device_of(settings.device)
    config = None if place == "cpu" else config_of(settings)
    if config is not None:
        dtype, slots = dtype_of(settings.dtype, place), settings.slots or FEWEST_SLOTS
        form = Form(dtype, settings.slow_attention, settings.quantize, slots)
        check_form(Card.of(place), settings.model, config, form)


def check_form(card: Card, model: str, config: Any, wanted: Form) -> None:
    """Raise ModelError where a card cannot serve a model in the form that is wanted."""
    _check_build(card)
    causes, form = _run(card, wanted)
    unable = _unable(card, form, form.quantize)
    if unable:
        causes.append(unable)
    elif form.plan(config).needed > card.free:
        causes.append(f"{model} takes {_taken(form, config)}")
    able = [
        replace(form, quantize=mode, slots=slots)
        for mode in _nearest(form.quantize)
        for slots in sorted({form.slots, min(form.slots, FEWEST_SLOTS)}, reverse=True)
        if not _unable(card, form, mode)
    ]
    fitting = [each for each in able if each.plan(config).needed <= card.free]
    found = f"{_has(card)} and {_gib(card.free)} free"
    if not fitting:
        smallest = min(able, key=lambda each: each.plan(config).needed)
        raise ModelError(
            f"{found} and {model} takes {_taken(smallest, config)}, the least that it can do; use "
            "a larger GPU, or LLAVA_JOBS_DEVICE_MAP=auto and no LLAVA_JOBS_QUANTIZE."
        )
    if causes:
        raise ModelError(f"{found}, but {', '.join(causes)}; set {fitting[0].differing(wanted)}.")


def _check_build(card: Card) -> None:
    """Raise ModelError where torch was built without kernels for a card."""
    if card.built_for and not card.has_kernels:
        old = card.capability < OLDEST_OF_NEW_BUILDS
        raise ModelError(
            f"{_has(card)}, for which this build of torch has no kernels "
            f"({' '.join(card.built_for)}); install torch's build for "
            f"{'CUDA 12.6, whose kernels go back to 5.0' if old else 'a newer CUDA'}."
        )


def _nearest(wanted: Quantize) -> list[Quantize]:
    """The wanted mode, those that take less, and those that take more, each the nearest first."""
    place = BY_SIZE.index(wanted)
    return [*BY_SIZE[place:], *reversed(BY_SIZE[:place])]


def _run(card: Card, wanted: Form) -> tuple[list[str], Form]:
    """Why a card cannot run what is wanted, whatever its size, and how it could."""
    causes, form = [], wanted
    if wanted.dtype == "bfloat16" and card.capability < FLASH_CAPABILITY:
        causes.append("bfloat16 needs capability 8.0")
        form = replace(form, dtype="float16")
    if card.capability < LEAST_CAPABILITY and not wanted.slow_attention:
        causes.append("the fast kernels need capability 7.0")
        form = replace(form, slow_attention=True)
    if form.dtype == "float32" and not form.slow_attention:
        causes.append("the kernels need 16-bit numbers")
        new = card.capability >= FLASH_CAPABILITY
        form = replace(form, dtype="bfloat16" if new else "float16")
    return causes, form


def _unable(card: Card, form: Form, mode: Quantize) -> str:
    """Why a card cannot hold weights as `mode` says, whatever their size; empty where it can."""
    least = CAPABILITY.get(mode, (0, 0))
    if card.capability < least:
        return "{} needs capability {}.{}".format(mode, *least)
    if mode in IN_BFLOAT16 and form.dtype != "bfloat16":
        return f"{mode} needs bfloat16"
    return ""


def _has(card: Card) -> str:
    return "{} has CUDA compute capability {}.{}".format(card.name, *card.capability)


def _taken(form: Form, config: Any) -> str:
    """What a form takes, in words."""
    held = "unquantised" if form.quantize == "none" else f"in {form.quantize}"
    return f"{_gib(form.plan(config).needed)} {held} with {form.slots} slots"


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
