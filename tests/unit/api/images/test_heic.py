"""HEIC: read in the confined child where the extra `heic` is installed, and else named as that."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pillow_heif
import pytest
from PIL import Image

from api.images.decoder_pool import ImageDoor, ImageRejected
from tests.unit.api.pictures import difference, encoded, scene, shown

pillow_heif.register_heif_opener()
WITHOUT = """
import sys
sys.modules["pillow_heif"] = None
from api.images.decoder_process import main
main()
"""
LARGE = scene((640, 480))


def looks_like_large(image: Image.Image) -> bool:
    """Whether a picture is that one but for what HEIC loses at edges of colours."""
    return difference(image.resize((16, 12)), LARGE.resize((16, 12))) <= 16


@pytest.fixture(scope="module")
def door() -> Iterator[ImageDoor]:
    door = ImageDoor(timeout_s=20)
    yield door
    door.close()


def test_a_picture_of_a_phone_is_taken(door: ImageDoor) -> None:
    upload = encoded(LARGE, "HEIF", quality=95)
    picture = door.canonical(upload)
    assert difference(shown(picture), Image.open(io.BytesIO(upload))) <= 8
    assert picture.data.startswith(b"\xff\xd8"), "what was lossy is kept as JPEG"


def test_it_is_turned_as_it_was_held_and_its_metadata_is_dropped(door: ImageDoor) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "canary-maker"
    sensor = LARGE.transpose(Image.Transpose.ROTATE_90)
    upload = encoded(sensor, "HEIF", exif=exif.tobytes())
    assert b"canary" in upload
    picture = door.canonical(upload)
    assert (picture.width, picture.height) == LARGE.size
    assert looks_like_large(shown(picture))
    assert b"canary" not in picture.data


def test_of_several_pictures_the_primary_one_is_shown(door: ImageDoor) -> None:
    upload = encoded(LARGE, "HEIF", save_all=True, append_images=[Image.new("RGB", LARGE.size)])
    assert looks_like_large(shown(door.canonical(upload)))


def test_alpha_is_laid_over_white(door: ImageDoor) -> None:
    clear = Image.new("RGBA", (64, 64), (200, 0, 0, 0))
    assert min(shown(door.canonical(encoded(clear, "HEIF"))).getpixel((9, 9))) > 250  # type: ignore[arg-type]


@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
def test_a_truncated_one_is_refused(door: ImageDoor, part: float) -> None:
    whole = encoded(Image.effect_noise((128, 96), 60).convert("RGB"), "HEIF")
    with pytest.raises(ImageRejected) as refused:
        door.canonical(whole[: int(len(whole) * part)])
    assert refused.value.code in {"image_corrupt", "image_truncated"}
    assert "HEIC" in refused.value.message


def test_its_size_counts_before_it_is_decoded() -> None:
    door = ImageDoor(timeout_s=20, max_pixels=1_000)
    with pytest.raises(ImageRejected) as refused:
        door.canonical(encoded(scene(), "HEIF"))
    assert refused.value.code == "image_too_large"
    door.close()


def test_without_the_extra_it_is_refused_by_name_and_the_cure_is_told() -> None:
    door = ImageDoor(timeout_s=20, program=("-c", WITHOUT))
    with pytest.raises(ImageRejected, match=r"looks like HEIC.*extra `heic`.*convert") as refused:
        door.canonical(encoded(scene(), "HEIF"))
    assert (refused.value.code, refused.value.status) == ("image_unsupported", 415)
    assert door.canonical(encoded(scene(), "PNG")).width == 64
    door.close()
