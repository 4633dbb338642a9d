"""What becomes of a picture at the door: real uploads through a real decoding process."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageCms, ImageDraw, PngImagePlugin

from api.images.decoder_pool import ImageDoor
from tests.unit.api.pictures import (
    difference,
    encoded,
    grey16,
    loss,
    on_a_larger_screen,
    png,
    scene,
    shown,
    with_tables_exchanged,
    without_marker,
)

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


@pytest.fixture(scope="module")
def door() -> Iterator[ImageDoor]:
    door = ImageDoor(timeout_s=20)
    yield door
    door.close()


class TestAccepted:
    @pytest.mark.parametrize("kind", ["PNG", "GIF"])
    def test_a_lossless_upload_keeps_every_pixel(self, door: ImageDoor, kind: str) -> None:
        assert difference(shown(door.canonical(encoded(scene(), kind))), scene()) == 0

    def test_a_lossless_webp_keeps_every_pixel(self, door: ImageDoor) -> None:
        upload = encoded(scene(), "WEBP", lossless=True)
        assert difference(shown(door.canonical(upload)), scene()) == 0

    @pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF", "MPO"])
    def test_a_lossy_upload_changes_no_more_than_its_own_losses(
        self, door: ImageDoor, kind: str
    ) -> None:
        sent = encoded(scene(), kind, quality=90)
        upload = Image.open(io.BytesIO(sent))
        assert loss(shown(door.canonical(sent)), upload) <= 0.25 * loss(upload, scene())

    @pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
    def test_a_jpeg_that_stays_as_it_came_stays_as_small(
        self, door: ImageDoor, subsampling: str
    ) -> None:
        noisy = Image.effect_noise((320, 240), 40).convert("RGB")
        upload = encoded(noisy, "JPEG", quality=60, subsampling=subsampling)
        picture, came = door.canonical(upload), Image.open(io.BytesIO(upload))
        assert loss(shown(picture), came) <= 0.25 * loss(came, noisy)
        assert len(picture.data) <= 1.05 * len(upload)

    def test_a_jpeg_whose_tables_stand_in_another_order_loses_no_more(
        self, door: ImageDoor
    ) -> None:
        noisy = Image.effect_noise((320, 240), 40).convert("RGB")
        fine, coarse = [1] * 64, [120] * 64
        upload = encoded(noisy, "JPEG", qtables=[fine, coarse], subsampling=0)
        upload = with_tables_exchanged(upload)
        came = Image.open(io.BytesIO(upload))
        assert [layer[3] for layer in came.layer] == [1, 0, 0]  # type: ignore[attr-defined]
        assert difference(shown(door.canonical(upload)), came) <= 8

    @pytest.mark.parametrize("named", ["by Adobe's marker", "by its components' ids"])
    def test_a_jpeg_of_rgb_is_not_stored_by_tables_that_were_made_for_rgb(
        self, door: ImageDoor, named: str
    ) -> None:
        """Its three tables are alike where those of luminance and colour are not."""
        vivid = Image.effect_noise((320, 240), 90).convert("RGB")
        vivid = Image.merge("RGB", (vivid.getchannel(0), *Image.new("RGB", (320, 240)).split()[:2]))
        upload = encoded(vivid, "JPEG", qtables=[[40] * 64], subsampling=0, keep_rgb=True)
        if named != "by Adobe's marker":
            upload = without_marker(upload, 0xEE)
        came = Image.open(io.BytesIO(upload))
        assert bytes(layer[0] for layer in came.layer) == b"RGB"  # type: ignore[attr-defined]
        assert loss(shown(door.canonical(upload)), came) <= 0.25 * loss(came, vivid)

    def test_a_phones_picture_of_several_frames_shows_the_first(self, door: ImageDoor) -> None:
        second = Image.new("RGB", (64, 48), "black")
        upload = encoded(scene(), "MPO", save_all=True, append_images=[second], quality=95)
        assert difference(shown(door.canonical(upload)), Image.open(io.BytesIO(upload))) <= 8

    def test_an_animation_shows_its_first_frame(self, door: ImageDoor) -> None:
        frames = [Image.new("RGB", (32, 32), colour) for colour in (BLUE, RED)]
        upload = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
        assert difference(shown(door.canonical(upload)), frames[0]) == 0

    @pytest.mark.parametrize("transparency", [None, 1])
    def test_what_an_animations_first_frame_leaves_out_is_white(
        self, door: ImageDoor, transparency: int | None
    ) -> None:
        """As browsers show it, whatever the palette and the background colour are."""
        frame = Image.new("P", (20, 16), 2)
        frame.putpalette([*RED, *GREEN, *BLUE])
        options = {} if transparency is None else {"transparency": transparency}
        upload = on_a_larger_screen(encoded(frame, "GIF", **options), (48, 32), at=(8, 4))
        picture = shown(door.canonical(upload))
        expected = Image.new("RGB", (48, 32), "white")
        expected.paste(Image.new("RGB", (20, 16), BLUE), (8, 4))
        assert difference(picture, expected) == 0

    def test_equal_pixels_have_equal_digests(self, door: ImageDoor) -> None:
        packed = door.canonical(encoded(scene(), "PNG", compress_level=9))
        loose = door.canonical(encoded(scene(), "WEBP", lossless=True))
        other = door.canonical(encoded(ImageChops.invert(scene()), "PNG"))
        assert packed == loose
        assert packed.digest != other.digest
        assert len(packed.digest) == 64

    @pytest.mark.parametrize("kind", ["PNG", "JPEG"])
    def test_a_long_picture_is_reduced_to_4096_pixels(self, door: ImageDoor, kind: str) -> None:
        picture = door.canonical(encoded(scene((6000, 600)), kind))
        assert (picture.width, picture.height) == (4096, 410)
        assert difference(shown(picture).resize((16, 8)), scene((6000, 600)).resize((16, 8))) <= 8

    def test_a_screenshot_of_4000_pixels_keeps_its_small_print(self, door: ImageDoor) -> None:
        screenshot = Image.new("RGB", (4000, 300), "white")
        ImageDraw.Draw(screenshot).text((3900, 280), "E42", fill="black")
        assert difference(shown(door.canonical(encoded(screenshot, "PNG"))), screenshot) == 0

    def test_a_picture_at_the_limit_fits_into_the_memory_limit(self, door: ImageDoor) -> None:
        picture = door.canonical(png((8000, 6250), 8, 6, b"\x10\x20\x30\x80" * 8000))
        assert (picture.width, picture.height) == (4096, 3200)


class TestOrientation:
    TURNED_BY_CAMERA = (
        None,
        Image.Transpose.FLIP_LEFT_RIGHT,
        Image.Transpose.ROTATE_180,
        Image.Transpose.FLIP_TOP_BOTTOM,
        Image.Transpose.TRANSPOSE,
        Image.Transpose.ROTATE_90,
        Image.Transpose.TRANSVERSE,
        Image.Transpose.ROTATE_270,
    )

    @pytest.mark.parametrize(("kind", "tolerance"), [("PNG", 0), ("JPEG", 24), ("AVIF", 24)])
    def test_the_eight_orientations_show_the_same(
        self, door: ImageDoor, kind: str, tolerance: int
    ) -> None:
        for orientation, turn in enumerate(self.TURNED_BY_CAMERA, start=1):
            exif = Image.Exif()
            exif[0x0112] = orientation
            sensor = scene() if turn is None else scene().transpose(turn)
            options: dict[str, Any] = (
                {} if kind == "PNG" else {"quality": 98, "subsampling": "4:4:4"}
            )
            picture = door.canonical(encoded(sensor, kind, exif=exif, **options))
            assert difference(shown(picture), scene()) <= tolerance, orientation

    def test_damaged_exif_is_ignored(self, door: ImageDoor) -> None:
        upload = encoded(scene(), "PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
        assert difference(shown(door.canonical(upload)), scene()) == 0


class TestMetadata:
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
    def test_none_is_stored(self, door: ImageDoor, kind: str) -> None:
        exif = Image.Exif()
        exif[0x010F] = "canary-maker"
        exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0)})
        text = PngImagePlugin.PngInfo()
        text.add_text("Comment", "canary-comment")
        comment: dict[str, Any] = {"pnginfo": text, "comment": "canary-comment"}
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        upload = encoded(scene(), kind, exif=exif, icc_profile=profile, **comment)
        assert b"canary" in upload
        picture = door.canonical(upload)
        assert b"canary" not in picture.data
        assert not shown(picture).getexif()
        assert "icc_profile" not in shown(picture).info

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "AVIF"])
    def test_an_appended_payload_is_left_behind(self, door: ImageDoor, kind: str) -> None:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as packed:
            packed.writestr("payload.txt", "canary-payload")
        payload = archive.getvalue()
        assert b"canary-payload" not in door.canonical(encoded(scene(), kind) + payload).data


class TestColour:
    def test_16_bit_grey_is_scaled_and_not_clipped(self, door: ImageDoor) -> None:
        row = [0, 128, 257, 32768, 65407, 65535] * 4
        image = shown(door.canonical(grey16(row)))
        assert [image.getpixel((x, 0)) for x in range(6)] == [
            (level, level, level) for level in (0, 0, 1, 128, 255, 255)
        ]

    def test_16_bit_colour_is_scaled(self, door: ImageDoor) -> None:
        row = struct.pack("!HHH", 0x2000, 0x8000, 0xFF00) * 16
        image = shown(door.canonical(png((16, 16), 16, 2, row)))
        assert image.getpixel((0, 0)) == (0x20, 0x80, 0xFF)

    @pytest.mark.parametrize("depth", [1, 2, 4, 8])
    def test_grey_of_few_bits_is_spread_over_all_levels(self, door: ImageDoor, depth: int) -> None:
        image = shown(door.canonical(png((16, 16), depth, 0, b"\xff" * (2 * depth))))
        assert image.getcolors() == [(256, WHITE)]

    @pytest.mark.parametrize(
        ("depth", "colour", "row", "transparent"),
        [
            (1, 0, b"\0" * 2, struct.pack("!H", 0)),
            (2, 0, b"\x55" * 4, struct.pack("!H", 1)),
            (4, 0, b"\x33" * 8, struct.pack("!H", 3)),
            (8, 0, b"\x4d" * 16, struct.pack("!H", 77)),
            (16, 0, struct.pack("!H", 30000) * 16, struct.pack("!H", 30000)),
            (8, 2, b"\x01\x02\x03" * 16, struct.pack("!HHH", 1, 2, 3)),
            (16, 2, struct.pack("!3H", 9, 3000, 60000) * 16, struct.pack("!3H", 9, 3000, 60000)),
        ],
        ids=["grey1", "grey2", "grey4", "grey8", "grey16", "colour8", "colour16"],
    )
    def test_a_transparent_value_is_white_at_every_depth(
        self, door: ImageDoor, depth: int, colour: int, row: bytes, transparent: bytes
    ) -> None:
        upload = png((16, 16), depth, colour, row, (b"tRNS", transparent))
        assert shown(door.canonical(upload)).getcolors() == [(256, WHITE)]

    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    def test_alpha_is_laid_over_white(self, door: ImageDoor, mode: str) -> None:
        image = Image.new("RGBA", (32, 32), (0, 0, 0, 0)).convert(mode)
        image.paste(Image.new("RGBA", (16, 32), (0, 0, 0, 128)).convert(mode), (16, 0))
        flat = shown(door.canonical(encoded(image, "PNG")))
        assert flat.getpixel((0, 0)) == WHITE
        assert flat.getpixel((31, 0)) == (127, 127, 127)

    def test_alpha_of_webp_and_avif_is_laid_over_white(self, door: ImageDoor) -> None:
        clear = Image.new("RGBA", (32, 32), (200, 0, 0, 0))
        for kind in ("WEBP", "AVIF"):
            assert shown(door.canonical(encoded(clear, kind))).getpixel((9, 9)) == WHITE

    def test_a_palette_with_transparency_is_laid_over_white(self, door: ImageDoor) -> None:
        image = Image.new("P", (32, 32), 0)
        image.putpalette([*RED, *GREEN, *BLUE])
        image.paste(1, (0, 0, 8, 8))
        image.paste(2, (8, 8, 16, 16))
        for kind, transparency in (("PNG", 1), ("GIF", 1), ("PNG", b"\xff\x00\xff")):
            flat = shown(door.canonical(encoded(image, kind, transparency=transparency)))
            assert [flat.getpixel((x, x)) for x in (0, 9, 20)] == [WHITE, BLUE, RED]

    def test_cmyk_becomes_rgb(self, door: ImageDoor) -> None:
        ink = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
        pixel = shown(door.canonical(encoded(ink, "JPEG", quality=98))).getpixel((9, 9))
        assert difference(Image.new("RGB", (1, 1), pixel), Image.new("RGB", (1, 1), RED)) <= 8

    def test_a_colour_profile_is_applied(self, door: ImageDoor) -> None:
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        swapped = (
            srgb.replace(b"rXYZ", b"swap").replace(b"gXYZ", b"rXYZ").replace(b"swap", b"gXYZ")
        ).replace("sRGB".encode("utf-16-be"), "GRBs".encode("utf-16-be"))
        upload = encoded(Image.new("RGB", (32, 32), RED), "PNG", icc_profile=swapped)
        red, green, blue = shown(door.canonical(upload)).tobytes()[:3]
        assert green > 200 > 60 > max(red, blue)

    @pytest.mark.parametrize("profile", [b"not a profile", b"\0" * 200])
    def test_a_broken_colour_profile_is_ignored(self, door: ImageDoor, profile: bytes) -> None:
        upload = encoded(scene(), "PNG", icc_profile=profile)
        assert difference(shown(door.canonical(upload)), scene()) == 0

    def test_a_profile_of_another_colour_space_is_ignored(self, door: ImageDoor) -> None:
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
        upload = encoded(scene(), "PNG", icc_profile=lab)
        assert difference(shown(door.canonical(upload)), scene()) == 0
