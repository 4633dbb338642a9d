"""Pictures for tests of the image door, some of which no encoder would write."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image, ImageChops, ImageDraw, ImageStat

from api.images.decoder_pool import CanonicalImage


def scene(size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A picture that looks different after any turn or flip."""
    image = Image.new("RGB", size, (40, 90, 160))
    draw = ImageDraw.Draw(image)
    width, height = size
    draw.rectangle((0, 0, width // 2, height // 3), fill=(220, 30, 30))
    draw.rectangle((0, height // 2, width // 4, height), fill=(240, 220, 60))
    return image


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def shown(picture: CanonicalImage) -> Image.Image:
    image = Image.open(io.BytesIO(picture.data))
    image.load()
    assert (image.mode, image.size) == ("RGB", (picture.width, picture.height))
    return image


def difference(one: Image.Image, other: Image.Image) -> int:
    """The largest difference of any pixel in any band, of 255."""
    assert one.size == other.size
    bands = ImageChops.difference(one.convert("RGB"), other.convert("RGB")).split()
    return max(int(band.getextrema()[1]) for band in bands)  # type: ignore[arg-type]


def loss(one: Image.Image, other: Image.Image) -> float:
    """The mean square difference of all pixels in all bands, of 65,025."""
    apart = ImageChops.difference(one.convert("RGB"), other.convert("RGB"))
    return sum(rms**2 for rms in ImageStat.Stat(apart).rms) / 3


def with_tables_exchanged(jpeg: bytes) -> bytes:
    """A JPEG of the same pixels whose quantisation tables 0 and 1 have each other's number."""
    data, at = bytearray(jpeg), 2
    while data[at + 1] != 0xDA:  # start of the scan
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        if data[at + 1] == 0xDB:
            for table in range(at + 4, end, 65):
                data[table] ^= 1
        elif data[at + 1] == 0xC0:
            for component in range(at + 10, end, 3):
                data[component + 2] ^= 1
        at = end
    return bytes(data)


def without_marker(jpeg: bytes, marker: int) -> bytes:
    """A JPEG without its segments of a kind."""
    kept, at = jpeg[:2], 2
    while jpeg[at + 1] != 0xDA:  # start of the scan
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4])
        kept += b"" if jpeg[at + 1] == marker else jpeg[at:end]
        at = end
    return kept + jpeg[at:]


def on_a_larger_screen(gif: bytes, size: tuple[int, int], at: tuple[int, int]) -> bytes:
    """A GIF whose one frame lies somewhere on a larger screen, of which it draws no more."""
    data = bytearray(gif)
    frame = gif.index(b",\0\0\0\0" + gif[6:10])
    data[6:10] = struct.pack("<HH", *size)
    data[frame + 1 : frame + 5] = struct.pack("<HH", *at)
    return bytes(data)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack("!I", len(body)) + kind + body + struct.pack("!I", zlib.crc32(kind + body))


def png(
    size: tuple[int, int], depth: int, colour: int, row: bytes, *chunks: tuple[bytes, bytes]
) -> bytes:
    """A PNG whose rows are all the same, with chunks before its pixels: what no encoder writes."""
    header = struct.pack("!IIBBBBB", *size, depth, colour, 0, 0, 0)
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(b"\0" + row) for _ in range(size[1])) + packer.flush()
    body = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in body)


def grey16(row: list[int], *chunks: tuple[bytes, bytes]) -> bytes:
    return png((len(row), 16), 16, 0, struct.pack(f"!{len(row)}H", *row), *chunks)
