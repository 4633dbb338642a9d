"""Small print: the overlapping parts of a large picture that a server shows behind the picture.

They are those of `detail: "high"` (docs/api.md), as `worker.engine.vision.detail` lays them out,
to which a test holds this module: training imports nothing of the server.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from transformers.image_processing_utils import select_best_resolution

from demo.model import GRIDS
from demo.scenes import Scene, parts, random_scene

Box = tuple[int, int, int, int]

OVERLAP = 0.25
MOST = 9


def crops(width: int, height: int, most: int = MOST) -> list[Box]:
    """Say which at most `most` parts show a picture at the largest scale, row by row, in pixels.

    Of layouts that show it equally large the one with the fewest parts is taken; a picture that
    the grids show at its full size has none.
    """
    if scale(width, height) >= 1:
        return []

    def worth(layout: tuple[int, int]) -> tuple[float, int]:
        rows, columns = layout
        return scale(_side(width, columns), _side(height, rows)), -rows * columns

    possible = [
        (rows, columns)
        for rows in range(1, most + 1)
        for columns in range(1, most // rows + 1)
        if rows * columns > 1
    ]
    rows, columns = max(possible, key=worth)
    return [
        (left, top, right, bottom)
        for top, bottom in _spans(height, rows)
        for left, right in _spans(width, columns)
    ]


def scale(width: int, height: int) -> float:
    """Say how large the grids show a picture: 1 is its full size, 0.5 half of each side."""
    grid_height, grid_width = select_best_resolution((height, width), GRIDS)
    return float(min(1.0, grid_width / width, grid_height / height))


def small_print(rng: Random, most: int, least: float, largest: float) -> Scene:
    """Choose a scene in a large picture, so that the panel is small in it.

    In one of at most `most` parts it is seen `least` to `largest` times as large as a panel that
    takes its whole picture is seen there.
    """
    scene = random_scene(rng)
    longest = 450 * (1200 / 450) ** (rng.random() ** 2)
    width, height = (round(side * longest / max(scene.size)) for side in scene.size)
    left, top, right, bottom = crops(width, height, most)[0]
    closer = scale(right - left, bottom - top) / scale(width, height)
    share = min(1.0, rng.uniform(least, largest) / closer)
    return replace(scene, size=(width, height), share=share)


def letter_height(scene: Scene) -> float:
    """Say how many pixels high a letter of the scene's code is at one look, or would be."""
    placed = parts(replace(scene, code=scene.code or "A00"))
    top, bottom = next((p.box[1], p.box[3]) for p in placed if p.name == "character")
    return (bottom - top) * scale(*scene.size)


def _side(length: int, count: int) -> int:
    return round(length / (count - (count - 1) * OVERLAP))


def _spans(length: int, count: int) -> list[tuple[int, int]]:
    side = _side(length, count)
    starts = [round(i * (length - side) / max(1, count - 1)) for i in range(count)]
    return [(start, start + side) for start in starts]
