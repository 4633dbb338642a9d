"""What is decided about a training before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

STAGES = ("tower", "whole", "head", "detail", "letters")


@dataclass(frozen=True)
class Recipe:
    """Everything besides the code that decides the weights."""

    seed: int = 0
    scenes: int = 40_000
    tower_steps: int = 900
    tower_batch: int = 64
    tower_rate: float = 1.5e-3
    steps: int = 3_000
    batch: int = 32
    rate: float = 1e-3
    detail_scenes: int = 2_240
    detail_steps: int = 560
    detail_batch: int = 4
    detail_rate: float = 4e-4
    kept_scenes: int = 8_000
    kept_batch: int = 10
    letters_scenes: int = 1_600
    letters_detail_scenes: int = 600
    letters_steps: int = 300
    letters_batch: int = 8
    head_steps: int = 200
    new_share: float = 0.8


class Stage(NamedTuple):
    """One stretch of training with its own optimiser and rate."""

    name: str
    steps: int
    batch: int
    rate: float
