"""Small print: a picture that is larger than the model's grids is looked at in parts, too."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from worker.engine.requests import Box, Picture, Turn
from worker.engine.vision import images
from worker.engine.vision.images import Tiling

OVERLAP = 0.25
"""Share of a part that its neighbour shows, too: what one cuts in two is whole in the other."""
MOST = 9
"""Parts of one picture; more would rarely fit into a context, and never be quick."""


def layouts(conversation: Sequence[Turn], tiling: Tiling) -> Iterator[tuple[Turn, ...]]:
    """The conversation with parts behind each picture that asks for detail, the most parts first.

    The one layout of a conversation in which no picture asks, or needs it, is the conversation.
    """
    if not any(picture.detail == "high" for turn in conversation for picture in turn.pictures):
        yield tuple(conversation)
        return
    last = None
    for most in range(MOST, 1, -1):
        layout = tuple(_in_parts(turn, tiling, most) for turn in conversation)
        if layout != last:
            yield layout
        last = layout


def _in_parts(turn: Turn, tiling: Tiling, most: int) -> Turn:
    parts: list[str | Picture] = []
    for part in turn.parts:
        parts.append(part)
        if isinstance(part, Picture) and part.detail == "high":
            height, width = images.size(part)
            boxes = crops(height, width, tiling, most)
            parts += [replace(part, detail="auto", box=box) for box in boxes]
    return replace(turn, parts=tuple(parts))


def crops(height: int, width: int, tiling: Tiling, most: int) -> list[Box]:
    """At most `most` overlapping parts that show a picture at the largest scale, row by row.

    Of layouts that show it equally large the one with the fewest parts is taken. A picture that the
    grids show at its full size needs none.
    """
    if tiling.scale(height, width) >= 1:
        return []

    def worth(layout: tuple[int, int]) -> tuple[float, int]:
        rows, columns = layout
        return tiling.scale(_side(height, rows), _side(width, columns)), -rows * columns

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


def _side(length: int, parts: int) -> int:
    """The length of each of so many overlapping parts of a length."""
    return round(length / (parts - (parts - 1) * OVERLAP))


def _spans(length: int, parts: int) -> list[tuple[int, int]]:
    """Where overlapping parts of a length begin and end, evenly spread, the last at its end."""
    side = _side(length, parts)
    starts = [round(i * (length - side) / max(1, parts - 1)) for i in range(parts)]
    return [(start, start + side) for start in starts]
