"""What is asked in a measurement: pictures and questions drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from random import Random

from demo.drawing import draw
from demo.questions import KINDS, ask
from demo.scenes import random_scene


@dataclass(frozen=True)
class Question:
    """A question about a picture, which is a PNG."""

    picture: bytes
    text: str


def different_pictures(count: int, seed: int) -> list[Question]:
    """Return ``count`` questions, each about a picture of its own."""
    rng = Random(seed)
    questions = []
    for number in range(count):
        scene = random_scene(rng)
        encoded = BytesIO()
        draw(scene).save(encoded, "PNG", compress_level=1)
        kind = KINDS[number % len(KINDS)]
        questions.append(Question(encoded.getvalue(), ask(scene, kind, "en", rng).text))
    return questions
