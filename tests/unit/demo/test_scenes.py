"""A scene settles its picture, its labels and its answers."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from demo.drawing import LIGHTS, draw, label_map
from demo.scenes import (
    BUTTON_LABEL,
    COLOURS,
    DIGIT_LABEL,
    ICON_LABEL,
    LABELS,
    LETTER_LABEL,
    LIGHT_LABEL,
    Scene,
    panel_box,
    parts,
    random_scene,
)

FULL = Scene("red", "star", 4, "E42", (320, 240), 5)


def test_a_scene_is_always_drawn_the_same() -> None:
    assert draw(FULL).tobytes() == draw(FULL).tobytes()
    assert draw(FULL).tobytes() != draw(replace(FULL, seed=6)).tobytes()


def test_random_scenes_follow_from_the_seed_and_vary() -> None:
    first, again = Random(1), Random(1)
    scenes = [random_scene(first) for _ in range(200)]
    assert scenes == [random_scene(again) for _ in range(200)]
    assert {scene.light for scene in scenes} == {*COLOURS, None}
    assert any(width > height for width, height in (scene.size for scene in scenes))
    assert any(width < height for width, height in (scene.size for scene in scenes))
    assert max(max(scene.size) for scene in scenes) > 600


@pytest.mark.parametrize("size", [(320, 240), (240, 320), (300, 300), (360, 120), (120, 360)])
def test_parts_lie_on_the_panel_and_apart(size: tuple[int, int]) -> None:
    for seed in range(20):
        scene = replace(FULL, size=size, seed=seed)
        left, top, right, bottom = panel_box(scene)
        solid = [part.box for part in parts(scene) if part.name != "character"]
        for box in solid:
            assert left <= box[0] < box[2] <= right
            assert top <= box[1] < box[3] <= bottom
        for i, one in enumerate(solid):
            for other in solid[:i]:
                assert (
                    one[2] <= other[0]
                    or other[2] <= one[0]
                    or one[3] <= other[1]
                    or other[3] <= one[1]
                )


def test_characters_stay_inside_the_display() -> None:
    for seed in range(50):
        placed = parts(replace(FULL, seed=seed))
        display = next(part.box for part in placed if part.name == "display")
        for part in placed:
            if part.name == "character":
                assert display[0] <= part.box[0] < part.box[2] <= display[2]
                assert display[1] <= part.box[1] < part.box[3] <= display[3]


def test_the_labels_name_exactly_what_the_scene_has() -> None:
    present = set(np.unique(np.asarray(label_map(FULL)))) - {0}
    assert present == {
        LIGHT_LABEL + COLOURS.index("red"),
        ICON_LABEL + 3,
        BUTTON_LABEL + 4 - 1,
        LETTER_LABEL + 2,
        DIGIT_LABEL + 4,
        DIGIT_LABEL + 10 + 2,
    }
    assert max(present) < LABELS
    bare = Scene(None, None, 0, None, (320, 240), 5)
    assert not np.asarray(label_map(bare)).any()


@pytest.mark.parametrize("colour", ["red", "green", "blue", "yellow"])
def test_the_light_has_its_colour_where_its_label_lies(colour: str) -> None:
    scene = replace(FULL, light=colour, size=(640, 480))
    pixels = np.asarray(draw(scene), float)
    lit = np.asarray(label_map(scene)) == LIGHT_LABEL + COLOURS.index(colour)
    seen = pixels[lit].mean(axis=0)
    distances = {name: np.abs(seen - paint).sum() for name, paint in LIGHTS.items()}
    assert min(distances, key=lambda name: distances[name]) == colour


def test_what_is_absent_is_not_drawn() -> None:
    names = {part.name for part in parts(Scene(None, None, 0, None, (320, 240), 5))}
    assert names <= {"display"}
