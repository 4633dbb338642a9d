"""Pictures of scenes, and which part of the scene each of their pixels belongs to."""

from __future__ import annotations

import io
import math
from random import Random

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter

from demo.glyphs import GLYPHS
from demo.scenes import Box, Part, Scene, panel_box, parts

Paint = tuple[int, int, int]

LIGHTS: dict[str, Paint] = {
    "red": (232, 32, 36),
    "green": (32, 200, 72),
    "blue": (38, 92, 240),
    "yellow": (250, 206, 32),
    "purple": (158, 52, 214),
    "white": (246, 248, 250),
}
BACKDROPS = (
    *((214, 205, 190), (120, 92, 66), (84, 104, 118), (226, 228, 230), (58, 62, 70)),
    *((168, 186, 176), (190, 160, 130), (104, 120, 92)),
)
PANELS = (
    *((226, 228, 231), (200, 206, 212), (52, 58, 66), (36, 40, 46), (238, 232, 218)),
    *((88, 104, 122), (70, 92, 88), (150, 158, 166), (104, 82, 70)),
)
# (unlit glass, lit characters)
DISPLAYS = (
    ((14, 18, 20), (255, 72, 56)),
    ((12, 20, 16), (88, 255, 140)),
    ((16, 18, 28), (120, 206, 255)),
    ((22, 18, 10), (255, 190, 70)),
    ((16, 16, 18), (240, 244, 250)),
    ((176, 196, 160), (28, 38, 30)),
)
SMOOTH = 2  # drawn this much larger, then scaled down


def draw(scene: Scene) -> Image.Image:
    """Draw the scene in RGB at `scene.size`; the same scene always gives the same pixels."""
    rng = Random(f"paint {scene.seed}")
    width, height = scene.size
    canvas = _backdrop((width * SMOOTH, height * SMOOTH), rng)
    panel = rng.choice(PANELS)
    _draw_panel(canvas, _enlarge(panel_box(scene)), panel, rng)
    tube = rng.choice(DISPLAYS)
    ink = _ink(panel, rng)
    keys = _shift(panel, rng.choice((-75, -50) if _is_bright(panel) else (55, 80, 110)))
    rounded = rng.choice((0.2, 0.5))
    for part in parts(scene):
        box = _enlarge(part.box)
        if part.name == "display":
            _draw_display(canvas, box, tube[0], panel)
        elif part.name == "character":
            _draw_character(canvas, box, part.value, tube[1])
        elif part.name == "light":
            _draw_light(canvas, box, LIGHTS[part.value])
        elif part.name == "icon":
            _draw_icon(canvas, box, part.value, ink, panel)
        else:
            _draw_button(canvas, box, keys, rounded)
    return _photograph(canvas.resize(scene.size, Image.Resampling.BOX), scene, rng)


def label_map(scene: Scene, smallest: float = 0.0) -> Image.Image:
    """Mark each pixel of the scene's picture with the dense label of its part, 0 for none.

    Parts with a side of fewer than `smallest` pixels are left out.
    Returns a greyscale image of `scene.size` whose values are the labels of `demo.scenes`.
    """
    labels = Image.new("L", scene.size, 0)
    pen = ImageDraw.Draw(labels)
    for part in parts(scene):
        left, top, right, bottom = part.box
        if part.label and min(right - left, bottom - top) >= smallest:
            pen.rectangle(_label_box(part), fill=part.label)
    return labels


def _label_box(part: Part) -> Box:
    left, top, right, bottom = part.box
    # A disc fills 79 % of its square: a smaller square says better which patches it covers.
    inset = 0.06 * (right - left) if part.name in ("light", "icon") else 0.0
    return left + inset, top + inset, right - inset, bottom - inset


def _enlarge(box: Box) -> Box:
    left, top, right, bottom = box
    return left * SMOOTH, top * SMOOTH, right * SMOOTH, bottom * SMOOTH


def _shift(paint: Paint, by: int) -> Paint:
    red, green, blue = (max(0, min(255, channel + by)) for channel in paint)
    return red, green, blue


def _is_bright(paint: Paint) -> bool:
    return sum(paint) > 380


def _ink(panel: Paint, rng: Random) -> Paint:
    dark = ((24, 28, 34), (20, 44, 84), (96, 20, 28), (16, 66, 46))
    bright = ((244, 246, 248), (250, 222, 150), (176, 220, 250), (190, 240, 200))
    return rng.choice(dark if _is_bright(panel) else bright)


def _backdrop(size: tuple[int, int], rng: Random) -> Image.Image:
    """Paint a plain wall that light falls on from one side, sometimes tiled or boarded."""
    paint = rng.choice(BACKDROPS)
    ramp = Image.linear_gradient("L").rotate(rng.choice((0, 90, 180, 270))).resize(size)
    depth = rng.randint(10, 45)
    wall = Image.composite(
        Image.new("RGB", size, _shift(paint, depth)),
        Image.new("RGB", size, _shift(paint, -depth)),
        ramp,
    )
    pattern = rng.choice(("plain", "plain", "boards", "tiles"))
    if pattern != "plain":
        pen = ImageDraw.Draw(wall)
        step = max(6, int(min(size) * rng.uniform(0.12, 0.3)))
        line = _shift(paint, rng.choice((-50, 45)))
        stroke = max(1, min(size) // 150)
        for x in range(rng.randint(0, step), size[0], step):
            pen.line((x, 0, x, size[1]), fill=line, width=stroke)
        if pattern == "tiles":
            for y in range(rng.randint(0, step), size[1], step):
                pen.line((0, y, size[0], y), fill=line, width=stroke)
    return wall


def _draw_panel(canvas: Image.Image, box: Box, paint: Paint, rng: Random) -> None:
    """Draw the casing with a bevelled edge, and a screw in each corner if it has any."""
    pen = ImageDraw.Draw(canvas)
    left, top, right, bottom = box
    unit = min(right - left, bottom - top)
    radius, edge = unit * rng.uniform(0.03, 0.09), unit * 0.012
    shade = (left + 2 * edge, top + 2 * edge, right + 2 * edge, bottom + 2 * edge)
    pen.rounded_rectangle(shade, radius, fill=_shift(paint, -90))
    pen.rounded_rectangle(box, radius, fill=_shift(paint, 28 if _is_bright(paint) else 40))
    inner = (left + edge, top + edge, right - edge / 2, bottom - edge / 2)
    pen.rounded_rectangle(inner, radius, fill=paint)
    if rng.random() < 0.6:
        _draw_screws(pen, box, unit, paint)


def _draw_screws(pen: ImageDraw.ImageDraw, box: Box, unit: float, paint: Paint) -> None:
    left, top, right, bottom = box
    far, size = unit * 0.036, unit * 0.014
    for x in (left + far, right - far):
        for y in (top + far, bottom - far):
            pen.ellipse((x - size, y - size, x + size, y + size), fill=_shift(paint, -40))
            pen.line((x - size, y, x + size, y), fill=_shift(paint, 30), width=SMOOTH)


def _draw_display(canvas: Image.Image, box: Box, glass: Paint, panel: Paint) -> None:
    pen = ImageDraw.Draw(canvas)
    left, top, right, bottom = box
    height = bottom - top
    pen.rounded_rectangle(box, height * 0.1, fill=_shift(panel, -45 if _is_bright(panel) else 45))
    rim = height * 0.045
    inner = (left + rim, top + rim, right - rim, bottom - rim)
    pen.rounded_rectangle(inner, height * 0.07, fill=glass)


def _draw_character(canvas: Image.Image, box: Box, character: str, lit: Paint) -> None:
    """Draw one character as a dot-matrix display does, with its glow."""
    left, top, right, bottom = (round(edge) for edge in box)
    size = max(5, right - left), max(7, bottom - top)
    rows = [[255 * (dot == "#") for dot in row] for row in GLYPHS[character]]
    dots = Image.fromarray(np.array(rows, np.uint8)).resize(size, Image.Resampling.NEAREST)
    if min(size) > 50:  # the gaps between dots show only from close by
        dots = ImageChops.multiply(dots, _dot_gaps(size))
    margin = max(2, size[1] // 8)
    halo = Image.new("L", (size[0] + 2 * margin, size[1] + 2 * margin), 0)
    halo.paste(dots, (margin, margin))
    halo = halo.filter(ImageFilter.GaussianBlur(margin / 2)).point(lambda level: level * 0.35)
    canvas.paste(lit, (left - margin, top - margin), halo)
    canvas.paste(lit, (left, top), dots)


def _dot_gaps(size: tuple[int, int]) -> Image.Image:
    width, height = size
    gaps = Image.new("L", size, 255)
    pen = ImageDraw.Draw(gaps)
    stroke = max(1, width // 40)
    for column in range(1, 5):
        pen.line((column * width / 5, 0, column * width / 5, height), fill=110, width=stroke)
    for row in range(1, 7):
        pen.line((0, row * height / 7, width, row * height / 7), fill=110, width=stroke)
    return gaps


def _draw_light(canvas: Image.Image, box: Box, paint: Paint) -> None:
    """Draw a lamp: metal bezel, coloured dome, a highlight, and light spilt on the panel."""
    left, top, right, bottom = box
    side = right - left
    spread = side * 0.22
    corner = (round(left - spread), round(top - spread))
    glow = Image.radial_gradient("L").resize((round(side + 2 * spread),) * 2)
    canvas.paste(paint, corner, glow.point(lambda level: max(0, 150 - level)))
    pen = ImageDraw.Draw(canvas)
    pen.ellipse(box, fill=(54, 58, 64))
    rim = side * 0.09
    dome = (left + rim, top + rim, right - rim, bottom - rim)
    pen.ellipse(dome, fill=_shift(paint, -38))
    rim = side * 0.15
    pen.ellipse((left + rim, top + rim, right - rim, bottom - rim * 1.3), fill=paint)
    shine = (left + side * 0.3, top + side * 0.22, left + side * 0.5, top + side * 0.36)
    pen.ellipse(shine, fill=_shift(paint, 90))


def _draw_icon(canvas: Image.Image, box: Box, shape: str, ink: Paint, panel: Paint) -> None:
    """Draw the icon on a square badge."""
    pen = ImageDraw.Draw(canvas)
    left, top, right, bottom = box
    side = right - left
    badge = _shift(panel, 18 if _is_bright(panel) else -14)
    pen.rounded_rectangle(box, side * 0.14, fill=badge, outline=ink, width=max(1, int(side * 0.03)))
    x, y, radius = (left + right) / 2, (top + bottom) / 2, side * 0.34
    if shape == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=ink)
    elif shape == "cross":
        arm = radius * 0.34
        pen.rectangle((x - radius, y - arm, x + radius, y + arm), fill=ink)
        pen.rectangle((x - arm, y - radius, x + arm, y + radius), fill=ink)
    else:
        pen.polygon([(x + radius * a, y + radius * b) for a, b in OUTLINES[shape]], fill=ink)


def _star() -> list[tuple[float, float]]:
    points = []
    for i in range(10):
        reach, angle = (1.1, 0.46)[i % 2], math.pi * (i / 5 - 0.5)
        points.append((reach * math.cos(angle), reach * math.sin(angle) + 0.05))
    return points


def _heart() -> list[tuple[float, float]]:
    turns = [math.tau * i / 40 for i in range(40)]
    return [
        (
            math.sin(t) ** 3 * 1.05,
            -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 15,
        )
        for t in turns
    ]


OUTLINES = {
    "square": [(-0.82, -0.82), (0.82, -0.82), (0.82, 0.82), (-0.82, 0.82)],
    "triangle": [(0.0, -1.0), (1.05, 0.82), (-1.05, 0.82)],
    "star": _star(),
    "heart": _heart(),
}


def _draw_button(canvas: Image.Image, box: Box, paint: Paint, rounded: float) -> None:
    pen = ImageDraw.Draw(canvas)
    left, top, right, bottom = box
    side = right - left
    lift = side * 0.08
    pen.rounded_rectangle(
        (left, top + lift, right, bottom + lift), side * rounded, fill=_shift(paint, -60)
    )
    pen.rounded_rectangle(box, side * rounded, fill=paint)
    rim = side * 0.12
    cap = (left + rim, top + rim, right - rim, bottom - rim)
    pen.rounded_rectangle(cap, side * rounded * 0.8, fill=_shift(paint, 16))


def _photograph(picture: Image.Image, scene: Scene, rng: Random) -> Image.Image:
    """Look at the picture through a real camera: exposure, focus, grain, compression."""
    picture = ImageEnhance.Brightness(picture).enhance(rng.uniform(0.82, 1.12))
    picture = ImageEnhance.Contrast(picture).enhance(rng.uniform(0.88, 1.1))
    if rng.random() < 0.4:
        blur = rng.uniform(0.1, 0.5) * max(scene.size) / 150
        picture = picture.filter(ImageFilter.GaussianBlur(min(blur, 1.2)))
    if rng.random() < 0.6:
        grain = np.random.default_rng(scene.seed).normal(
            0, rng.uniform(1, 6), (*picture.size[::-1], 1)
        )
        grainy = np.asarray(picture, np.float32) + grain
        picture = Image.fromarray(grainy.clip(0, 255).astype(np.uint8))
    if rng.random() < 0.3:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=rng.randint(55, 92))
        picture = Image.open(file).convert("RGB")
    return picture
