"""Scenes whose truth is known because we chose it: a device panel, its parts and where they lie."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross")
MOST_BUTTONS = 6
# Device makers leave out letters that look like digits (B 8, I 1, O 0, S 5, Z 2), and so do we.
LETTERS = "ACEFHKLNPRTUXY"
DIGITS = "0123456789"

Box = tuple[float, float, float, float]

LIGHT_LABEL = 1
ICON_LABEL = LIGHT_LABEL + len(COLOURS)
BUTTON_LABEL = ICON_LABEL + len(SHAPES)
LETTER_LABEL = BUTTON_LABEL + MOST_BUTTONS
DIGIT_LABEL = LETTER_LABEL + len(LETTERS)
LABELS = DIGIT_LABEL + 2 * len(DIGITS)


@dataclass(frozen=True)
class Scene:
    """What a picture shows: every answer follows from it; None (or no buttons) means absent.

    `size` is (width, height) in pixels. `seed` settles everything a question never asks about:
    layout, paint, backdrop, blur, noise. `share` is how much of each side the panel takes with a
    little wall around it: all, or less, somewhere in the picture, so that its print is small.
    """

    light: str | None
    icon: str | None
    buttons: int
    code: str | None
    size: tuple[int, int]
    seed: int
    share: float = 1.0


@dataclass(frozen=True)
class Part:
    """One drawn thing: its name, its box in pixels and the dense label of the patches it covers."""

    name: str
    box: Box
    label: int = 0
    value: str = ""


def random_scene(rng: Random, absent: float = 0.15) -> Scene:
    """Choose a scene in which each element is missing with probability `absent`."""
    code = rng.choice(LETTERS) + rng.choice(DIGITS) + rng.choice(DIGITS)
    return Scene(
        light=None if rng.random() < absent else rng.choice(COLOURS),
        icon=None if rng.random() < absent else rng.choice(SHAPES),
        buttons=0 if rng.random() < absent else rng.randint(1, MOST_BUTTONS),
        code=None if rng.random() < absent else code,
        size=random_size(rng),
        seed=rng.randrange(2**31),
    )


def random_size(rng: Random) -> tuple[int, int]:
    """Choose (width, height): mostly phone-photo shapes, now and then a strip up to 3:1 or 1:3."""
    ratio = rng.choice((4 / 3, 3 / 2, 16 / 9, 1.0, 3 / 4, 2 / 3, 9 / 16, 0.0, 0.0, 0.0))
    ratio = ratio or 3 ** rng.uniform(-1, 1)
    longest = 150 * (1000 / 150) ** (rng.random() ** 3)
    width, height = (longest, longest / ratio) if ratio >= 1 else (longest * ratio, longest)
    return max(56, round(width)), max(56, round(height))


def panel_box(scene: Scene) -> Box:
    """Say where the panel lies in the picture, in pixels."""
    rng = Random(f"panel {scene.seed}")
    width, height = (side * scene.share for side in scene.size)
    unit = min(width, height)
    left, top, right, bottom = (rng.uniform(0.02, 0.07) * unit for _ in range(4))
    x, y = (rng.random() * (side - side * scene.share) for side in scene.size)
    return x + left, y + top, x + width - right, y + height - bottom


def parts(scene: Scene) -> list[Part]:
    """Lay the elements out on the panel, in pixels; what is absent leaves its place bare."""
    rng = Random(f"layout {scene.seed}")
    cells = _cells(panel_box(scene), rng)
    placed: list[Part] = []
    if scene.light is not None:
        label = LIGHT_LABEL + COLOURS.index(scene.light)
        placed.append(Part("light", _square(cells["light"], rng, 0.72), label, scene.light))
    if scene.icon is not None:
        label = ICON_LABEL + SHAPES.index(scene.icon)
        placed.append(Part("icon", _square(cells["icon"], rng, 0.86), label, scene.icon))
    placed += _buttons(cells["buttons"], scene.buttons, rng)
    # A switched-off display is as good a way to have no code as no display at all.
    if scene.code is not None or rng.random() < 0.5:
        placed += _display(cells["display"], scene.code, rng)
    return placed


def _cells(panel: Box, rng: Random) -> dict[str, Box]:
    """Divide the panel into one cell an element: two rows when wide, three when tall."""
    left, top, right, bottom = panel
    width, height = right - left, bottom - top
    small = [("light", 0.85), ("icon", 1.0)]
    rng.shuffle(small)
    if width > 1.15 * height:
        instruments = [*small, ("display", rng.uniform(1.9, 2.3))]
        instruments = instruments if rng.random() < 0.4 else instruments[::-1]
        if rng.random() < 0.3:
            instruments = [instruments[1], instruments[2], instruments[0]]
        rows = [(rng.uniform(0.56, 0.66), instruments), (0.36, [("buttons", 1.0)])]
    else:
        rows = [
            (rng.uniform(0.36, 0.44), [("display", 1.0)]),
            (rng.uniform(0.28, 0.36), small),
            (rng.uniform(0.24, 0.3), [("buttons", 1.0)]),
        ]
        rng.shuffle(rows)
    if len(rows) == 2 and rng.random() < 0.25:
        rows.reverse()
    inset = 0.05 * min(width, height)
    left, top, width, height = left + inset, top + inset, width - 2 * inset, height - 2 * inset
    cells: dict[str, Box] = {}
    down = top
    tall = sum(share for share, _ in rows)
    for share, row in rows:
        row_height = height * share / tall
        across = left
        wide = sum(weight for _, weight in row)
        for name, weight in row:
            cell_width = width * weight / wide
            cells[name] = (across, down, across + cell_width, down + row_height)
            across += cell_width
        down += row_height
    return cells


def _square(cell: Box, rng: Random, fill: float) -> Box:
    """Place a square in the cell, a little off centre."""
    left, top, right, bottom = cell
    side = fill * rng.uniform(0.82, 1.0) * min(right - left, bottom - top)
    x = left + (right - left - side) * rng.uniform(0.35, 0.65)
    y = top + (bottom - top - side) * rng.uniform(0.35, 0.65)
    return x, y, x + side, y + side


def _buttons(cell: Box, count: int, rng: Random) -> list[Part]:
    """Place a row of buttons; the pitch does not depend on the count, so it gives nothing away."""
    left, top, right, bottom = cell
    pitch = min((right - left) / MOST_BUTTONS, 0.95 * (bottom - top)) * rng.uniform(0.85, 1.0)
    side = pitch * rng.uniform(0.62, 0.74)
    spare = right - left - pitch * count
    x = left + spare * rng.choice((0.06, 0.5, 0.5, 0.94)) + (pitch - side) / 2
    y = top + (bottom - top - side) * rng.uniform(0.4, 0.6)
    boxes = [(x + i * pitch, y, x + i * pitch + side, y + side) for i in range(count)]
    return [Part("button", box, BUTTON_LABEL + count - 1) for box in boxes]


def _display(cell: Box, code: str | None, rng: Random) -> list[Part]:
    """Place the display and its three characters; characters fill it so that they stay legible."""
    left, top, right, bottom = cell
    width = (right - left) * rng.uniform(0.9, 0.97)
    height = min((bottom - top) * rng.uniform(0.84, 0.94), width * 0.62)
    x = left + (right - left - width) * rng.uniform(0.3, 0.7)
    y = top + (bottom - top - height) * rng.uniform(0.3, 0.7)
    placed = [Part("display", (x, y, x + width, y + height))]
    letter_height = min(height * rng.uniform(0.68, 0.78), width / 4.0 * 1.45)
    letter_width = letter_height / rng.uniform(1.4, 1.5)
    pitch = letter_width * rng.uniform(1.18, 1.26)
    start = x + (width - 2 * pitch - letter_width) * rng.uniform(0.35, 0.65)
    down = y + (height - letter_height) / 2
    for i, character in enumerate(code or ""):
        label = (
            LETTER_LABEL + LETTERS.index(character)
            if i == 0
            else DIGIT_LABEL + (i - 1) * len(DIGITS) + DIGITS.index(character)
        )
        across = start + i * pitch
        box = (across, down, across + letter_width, down + letter_height)
        placed.append(Part("character", box, label, character))
    return placed
