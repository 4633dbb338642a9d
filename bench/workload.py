"""What is asked in a measurement: pictures, questions, lengths and arrivals, drawn from a seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from random import Random

from PIL import Image

from demo.drawing import draw
from demo.questions import KINDS, ask
from demo.scenes import random_scene

PICTURE_SIZE = (640, 480)
ANSWER_TOKENS = 64
LONG_ANSWER_TOKENS = 256
MIXED_ANSWER_TOKENS = (8, 192)
REPEATED = 0.3
_MOST_ROUNDS = 100

_TELLING = (
    "I have sent you a photo of the panel of my device, taken this morning.",
    "Hello, this is the panel of the machine in our kitchen as it looks now.",
    "Please look at the photo of the front of the device that I bought here.",
    "The picture shows my device, which stopped working some time last night.",
)


@dataclass(frozen=True)
class Question:
    """A question about a picture (JPEG), the exact length of its answer in tokens, and the second
    after the start at which it arrives; 0 is at once."""

    picture: bytes
    text: str
    max_new_tokens: int = ANSWER_TOKENS
    arrives: float = 0.0


@dataclass(frozen=True)
class Workload:
    """Questions under a name; `share` is how many of `--count` questions it has.

    `arriving` says that questions come at random instants rather than as soon as there is room.
    """

    name: str
    description: str
    share: float
    draw: Callable[[int, int], list[Question]]
    arriving: bool = False

    def questions(self, count: int, seed: int) -> list[Question]:
        """Return this workload's part of `count` questions; the same seed draws the same."""
        return self.draw(max(1, math.ceil(count * self.share)), seed)


def different_pictures(count: int, seed: int) -> list[Question]:
    """Ask about a picture each."""
    rng = Random(f"different {seed}")
    return [_question(rng, _picture(rng), number) for number in range(count)]


def one_picture(count: int, seed: int) -> list[Question]:
    """Ask many questions about one picture."""
    rng = Random(f"one {seed}")
    picture = _picture(rng)
    return [_question(rng, picture, number) for number in range(count)]


def repeated_pictures(count: int, seed: int) -> list[Question]:
    """Ask about a picture that was asked about before in REPEATED of the questions."""
    rng = Random(f"repeated {seed}")
    pictures: list[bytes] = []
    for number in range(count):
        again = number > 0 and rng.random() < REPEATED
        pictures.append(rng.choice(pictures) if again else _picture(rng))
    return [_question(rng, picture, number) for number, picture in enumerate(pictures)]


def long_answers(count: int, seed: int) -> list[Question]:
    """Ask about a picture each, and have long answers."""
    questions = different_pictures(count, seed + 1)
    return [replace(question, max_new_tokens=LONG_ANSWER_TOKENS) for question in questions]


def mixed_lengths(count: int, seed: int) -> list[Question]:
    """Ask about a picture each; lengths spread evenly over orders of magnitude, as in chats."""
    rng = Random(f"mixed {seed}")
    shortest, longest = map(math.log, MIXED_ANSWER_TOKENS)
    return [
        replace(question, max_new_tokens=round(math.exp(rng.uniform(shortest, longest))))
        for question in different_pictures(count, seed + 2)
    ]


def one_by_one(count: int, seed: int) -> list[Question]:
    """Ask about a picture each, none of which another workload shows."""
    return different_pictures(count, seed + 5)


def arriving(questions: Sequence[Question], rate: float, seed: int) -> list[Question]:
    """Have questions arrive as a Poisson process, on average `rate` in a second."""
    rng = Random(f"arrivals {seed}")
    instant = 0.0
    late = []
    for question in questions:
        late.append(replace(question, arrives=instant))
        instant += rng.expovariate(rate)
    return late


def _question(rng: Random, picture: bytes, number: int) -> Question:
    words = ask(random_scene(rng, absent=0), KINDS[number % len(KINDS)], "en", rng).text
    return Question(picture, f"{rng.choice(_TELLING)} {words}")


def _picture(rng: Random) -> bytes:
    """Draw a JPEG that our door stores with not a pixel changed.

    The door encodes lossy uploads anew. A model with random weights hears the rounding in that, and
    its answers would differ from those of ways without a door; encoding settles after some rounds.
    """
    from api.images.canonical import encode  # what only draws needs nothing of the API

    image = draw(replace(random_scene(rng), size=PICTURE_SIZE))
    for _ in range(_MOST_ROUNDS):
        data = encode(image, lossy=True)
        stored = Image.open(BytesIO(data)).convert("RGB")
        if stored.tobytes() == image.tobytes():
            break
        image = stored
    return data


ONE_AT_A_TIME = Workload("one at a time", "different pictures, one job in flight", 0.25, one_by_one)
WORKLOADS = (
    Workload(
        "different pictures",
        f"a 640x480 picture each, answers of {ANSWER_TOKENS} tokens",
        1.0,
        different_pictures,
    ),
    Workload("one picture", "many questions about one picture", 1.0, one_picture),
    Workload(
        "30 % repeated", "30 % of the pictures were asked about before", 1.0, repeated_pictures
    ),
    Workload(
        "long answers", f"different pictures, answers of {LONG_ANSWER_TOKENS}", 0.5, long_answers
    ),
    Workload(
        "mixed, at random",
        f"answers of {MIXED_ANSWER_TOKENS[0]} to {MIXED_ANSWER_TOKENS[1]} tokens, arriving at "
        "random and faster than they can be answered",
        1.0,
        mixed_lengths,
        arriving=True,
    ),
)
