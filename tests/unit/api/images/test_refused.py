"""Which uploads the image door refuses, and what it calls them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import pytest
from PIL import Image

from api.images.decoder_pool import ImageDoor, ImageRejected
from tests.unit.api.pictures import chunk, encoded, png, scene


@pytest.fixture(scope="module")
def door() -> Iterator[ImageDoor]:
    door = ImageDoor(timeout_s=20)
    yield door
    door.close()


class TestRefused:
    def refusal(self, door: ImageDoor, upload: bytes) -> tuple[str, int]:
        with pytest.raises(ImageRejected) as refused:
            door.canonical(upload)
        assert refused.value.param == "image"
        return refused.value.code, refused.value.status

    def test_nothing(self, door: ImageDoor) -> None:
        assert self.refusal(door, b"") == ("image_empty", 400)

    def test_too_many_bytes(self) -> None:
        door = ImageDoor(max_bytes=100)
        assert self.refusal(door, bytes(101)) == ("image_too_many_bytes", 413)
        door.close()

    @pytest.mark.parametrize(
        ("name", "upload"),
        [
            ("TIFF", encoded(scene(), "TIFF")),
            ("EPS", encoded(scene(), "EPS")),
            ("BMP", encoded(scene(), "BMP")),
            ("PDF", encoded(scene(), "PDF")),
            ("PSD", b"8BPS\0\x01" + bytes(64)),
            ("SVG", b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"/>'),
            ("none of them", bytes(range(256))),
            ("none of them", b"P6 64 48 255\n" + bytes(9216)),
        ],
    )
    def test_other_formats_by_what_they_are(
        self, door: ImageDoor, name: str, upload: bytes
    ) -> None:
        assert self.refusal(door, upload) == ("image_unsupported", 415)
        with pytest.raises(ImageRejected, match=f"JPEG, PNG, WebP, GIF or AVIF, .*{name}"):
            door.canonical(upload)

    def test_a_decompression_bomb(self, door: ImageDoor) -> None:
        bomb = png((13000, 13000), 1, 0, bytes(1625))
        assert len(bomb) < 25_000
        assert self.refusal(door, bomb) == ("image_too_large", 422)

    @pytest.mark.parametrize("size", [(8000, 6251), (30000, 30000), (2**31 - 1, 2**31 - 1)])
    def test_more_pixels_than_allowed_by_the_header_alone(
        self, door: ImageDoor, size: tuple[int, int]
    ) -> None:
        header = chunk(b"IHDR", struct.pack("!IIBBBBB", *size, 8, 2, 0, 0, 0))
        upload = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"")
        assert self.refusal(door, upload) == ("image_too_large", 422)

    def test_a_webp_canvas_too_large(self, door: ImageDoor) -> None:
        upload = bytearray(encoded(scene(), "WEBP", lossless=True, exif=Image.Exif().tobytes()))
        assert upload[12:16] == b"VP8X"
        upload[24:30] = (16382).to_bytes(3, "little") * 2
        assert self.refusal(door, bytes(upload)) == ("image_too_large", 422)

    @pytest.mark.parametrize("size", [(15, 64), (64, 15), (321, 16), (16, 321), (1, 1)])
    def test_extreme_shapes(self, door: ImageDoor, size: tuple[int, int]) -> None:
        upload = encoded(Image.new("RGB", size), "PNG")
        assert self.refusal(door, upload) == ("image_shape", 422)

    @pytest.mark.parametrize("size", [(16, 16), (320, 16), (16, 320)])
    def test_but_not_shapes_at_the_limit(self, door: ImageDoor, size: tuple[int, int]) -> None:
        picture = door.canonical(encoded(Image.new("RGB", size), "PNG"))
        assert (picture.width, picture.height) == size

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
    @pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
    def test_truncated(self, door: ImageDoor, kind: str, part: float) -> None:
        noise = Image.effect_noise((128, 96), 60).convert("RGB")
        whole = encoded(noise, kind)
        code, status = self.refusal(door, whole[: int(len(whole) * part)])
        assert code in {"image_truncated", "image_corrupt"}
        assert status == 422

    def test_truncated_says_so(self, door: ImageDoor) -> None:
        whole = encoded(Image.effect_noise((128, 96), 60), "PNG")
        assert self.refusal(door, whole[: len(whole) // 2]) == ("image_truncated", 422)

    def test_a_progressive_jpeg_that_lacks_its_last_scans(self, door: ImageDoor) -> None:
        whole = encoded(scene((256, 256)), "JPEG", progressive=True)
        last_scan = whole.rindex(b"\xff\xda")
        assert self.refusal(door, whole[:last_scan]) == ("image_truncated", 422)

    def test_a_header_and_nothing_else(self, door: ImageDoor) -> None:
        for magic in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"GIF89a"):
            assert self.refusal(door, magic) == ("image_corrupt", 422)

    def test_a_bomb_of_text_beside_the_pixels(self, door: ImageDoor) -> None:
        bomb = b"Comment\0\0" + zlib.compress(bytes(80_000_000), 9)
        upload = png((16, 16), 8, 0, bytes(16), (b"zTXt", bomb))
        assert self.refusal(door, upload) == ("image_corrupt", 422)
