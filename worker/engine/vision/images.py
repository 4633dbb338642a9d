"""From canonical bytes to the tiles that the vision tower looks at.

LLaVA-NeXT sees a picture once as a whole, squeezed into one square tile, and once in detail: scaled
into the best fitting of a few grids of tiles, centred on black (AnyRes, the LLaVA-NeXT blog post of
January 2024; transformers models/llava_next/image_processing_pil_llava_next.py is the reference
that this module equals byte for byte). Only Pillow and numpy are imported, so that a pool of
processes starts fast and stays small.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from worker.engine.errors import ImageUnreadable
from worker.engine.requests import Picture

Tiles = NDArray[np.uint8]

MAX_ASPECT_RATIO = 20
MIN_SIDE = 16
STORED = ("JPEG", "PNG", "WEBP")


@dataclass(frozen=True)
class Tiling:
    """How a checkpoint cuts pictures: tile side and grids in pixels (height, width), patches per
    tile side, and the Pillow resampling filter."""

    tile: int
    grids: tuple[tuple[int, int], ...]
    patches: int
    resample: int = Image.Resampling.BICUBIC

    @property
    def max_tokens(self) -> int:
        """The most image tokens that one picture can have."""
        return max(self.tokens(height, width) for height, width in self.grids)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """The grid that keeps most of the picture's pixels and, among those, wastes least."""

        def fit(grid: tuple[int, int]) -> tuple[int, int]:
            scale = min(grid[1] / width, grid[0] / height)
            kept = min(int(width * scale) * int(height * scale), width * height)
            return kept, -(grid[0] * grid[1] - kept)

        return max(self.grids, key=fit)

    def scale(self, height: int, width: int) -> float:
        """How large the grids show a picture: 1 is its full size, 0.5 half of each side."""
        grid_height, grid_width = self.grid(height, width)
        return min(1.0, grid_width / width, grid_height / height)

    def tokens(self, height: int, width: int) -> int:
        """The number of image tokens of a picture: the whole, the detail without its padding, and
        one newline token per row of the detail."""
        grid_height, grid_width = self.grid(height, width)
        rows = grid_height // self.tile * self.patches
        columns = grid_width // self.tile * self.patches
        if width / height > columns / rows:
            kept = int(round(height * (columns / width), 7))
            rows -= (rows - kept) // 2 * 2
        else:
            kept = int(round(width * (rows / height), 7))
            columns -= (columns - kept) // 2 * 2
        return self.patches**2 + rows * columns + rows


def size(picture: Picture) -> tuple[int, int]:
    """The (height, width) that is seen of a picture, by its header, without decoding it.

    Raises ImageUnreadable for bytes that are no picture and for shapes that leave nothing to see.
    """
    try:
        with Image.open(io.BytesIO(picture.data), formats=STORED) as image:
            width, height = image.size
    except Exception as error:
        raise ImageUnreadable("The picture is not a readable JPEG, PNG or WebP file.") from error
    if picture.box is not None:
        left, top, right, bottom = picture.box
        width, height = right - left, bottom - top
    if min(height, width) < MIN_SIDE or max(height, width) > MAX_ASPECT_RATIO * min(height, width):
        raise ImageUnreadable(
            f"The picture is {width}x{height} pixels; each side must have at least {MIN_SIDE} and "
            f"the longer at most {MAX_ASPECT_RATIO} times the shorter."
        )
    return height, width


def tiles(pictures: Sequence[Picture], tiling: Tiling) -> list[Tiles]:
    """Decode pictures and cut each: uint8 [1 + tiles of the grid, 3, tile, tile], whole first.

    Bytes that several parts are seen of are decoded once. Raises ImageUnreadable for bytes that
    cannot be decoded.
    """
    opened: dict[str, Image.Image] = {}
    cut = []
    for picture in pictures:
        image = opened.get(picture.digest)
        if image is None:
            image = opened[picture.digest] = decoded(picture.data)
        cut.append(_tiles(image if picture.box is None else image.crop(picture.box), tiling))
    return cut


def decoded(data: bytes) -> Image.Image:
    """The picture of canonical bytes as RGB; raises ImageUnreadable."""
    try:
        with Image.open(io.BytesIO(data), formats=STORED) as opened:
            return opened.convert("RGB")
    except Exception as error:
        raise ImageUnreadable("The picture's bytes are damaged and cannot be decoded.") from error


def _tiles(image: Image.Image, tiling: Tiling) -> Tiles:
    side = tiling.tile
    whole = image.resize((side, side), tiling.resample)
    detail = _fit(image, tiling.grid(image.height, image.width), tiling.resample)
    boxes = [
        (left, top, left + side, top + side)
        for top in range(0, detail.height, side)
        for left in range(0, detail.width, side)
    ]
    pixels = [np.asarray(part) for part in (whole, *(detail.crop(box) for box in boxes))]
    return np.ascontiguousarray(np.stack(pixels).transpose(0, 3, 1, 2))


def _fit(image: Image.Image, grid: tuple[int, int], resample: int) -> Image.Image:
    """Scale a picture into a grid (height, width) and centre it on black."""
    height, width = grid
    scale_x, scale_y = width / image.width, height / image.height
    if scale_x < scale_y:
        scaled = (width, min(math.ceil(image.height * scale_x), height))
    else:
        scaled = (min(math.ceil(image.width * scale_y), width), height)
    canvas = Image.new("RGB", (width, height))
    offset = ((width - scaled[0]) // 2, (height - scaled[1]) // 2)
    canvas.paste(image.resize(scaled, Image.Resampling(resample)), offset)
    return canvas
