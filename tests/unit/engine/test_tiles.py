"""Pictures become tiles exactly as the checkpoint's processor makes them."""

import io
import random

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.llava_next.image_processing_pil_llava_next import (
    LlavaNextImageProcessorPil,
)

from tests.eventually import PATIENCE_S
from tests.unit.engine.conftest import Checkpoint, paint
from worker.engine import ImageUnreadable, Picture
from worker.engine.vision import images
from worker.engine.vision.images import Tiling
from worker.engine.vision.preprocessing import Preprocessor
from worker.engine.vision.tower import Vision

SIZES = [(90, 200), (200, 90), (128, 128), (640, 480), (1400, 1000), (16, 16), (16, 320), (331, 97)]
RELEASED = Tiling(336, ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008)), 24)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_pixel_values_equal_the_processors(width: int, height: int, checkpoint: Checkpoint) -> None:
    picture, loaded = paint(width, height), checkpoint.loaded()
    (cut,) = images.tiles([picture], loaded.tiling)
    ours = Vision(loaded.model, loaded.levels).pixel_values(cut)
    theirs = checkpoint.processor.image_processor(
        Image.open(io.BytesIO(picture.data)), return_tensors="pt"
    )["pixel_values"]
    assert cut.dtype == np.uint8
    assert torch.equal(ours, theirs[0])


@pytest.mark.parametrize(("width", "height"), [(640, 480), (500, 1200)])
def test_tiles_of_the_released_models_equal_the_processors(width: int, height: int) -> None:
    picture = paint(width, height)
    theirs = LlavaNextImageProcessorPil(size={"shortest_edge": 336}, crop_size=336)(
        Image.open(io.BytesIO(picture.data)), do_rescale=False, do_normalize=False
    )["pixel_values"]
    (ours,) = images.tiles([picture], RELEASED)
    assert np.array_equal(ours, theirs[0])


def test_image_tokens_are_as_many_as_the_processor_expects(checkpoint: Checkpoint) -> None:
    tiling = checkpoint.loaded().tiling
    rng = random.Random(0)
    sizes = [(rng.randint(16, 900), rng.randint(16, 900)) for _ in range(300)]
    theirs = checkpoint.processor._get_num_multimodal_tokens(image_sizes=sizes)
    assert [tiling.tokens(*size) for size in sizes] == theirs["num_image_tokens"]


def test_image_tokens_of_the_released_models() -> None:
    assert RELEASED.tokens(672, 672) == 2928
    assert RELEASED.tokens(480, 640) == 2340
    assert RELEASED.max_tokens == 2928


def test_no_picture_has_more_tokens_than_the_most() -> None:
    rng = random.Random(1)
    sizes = [(rng.randint(16, 3000), rng.randint(16, 3000)) for _ in range(2000)]
    assert max(RELEASED.tokens(*size) for size in sizes) <= RELEASED.max_tokens


def encoded(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, lossless=True)
    return file.getvalue()


def test_webp_and_png_of_the_same_pixels_are_cut_alike() -> None:
    image = Image.open(io.BytesIO(paint(300, 200).data))
    kinds = [Picture(encoded(image, kind)) for kind in ("PNG", "WEBP")]
    png, webp = images.tiles(kinds, RELEASED)
    assert np.array_equal(png, webp)


def test_jpeg_is_cut_as_pillow_decodes_it() -> None:
    jpeg = encoded(Image.open(io.BytesIO(paint(300, 200).data)), "JPEG")
    decoded = encoded(Image.open(io.BytesIO(jpeg)), "PNG")
    assert images.size(Picture(jpeg)) == (200, 300)
    ours, pillows = images.tiles([Picture(jpeg), Picture(decoded)], RELEASED)
    assert np.array_equal(ours, pillows)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a picture",
        encoded(Image.new("RGB", (64, 64)), "GIF"),
        encoded(Image.new("RGB", (15, 15)), "PNG"),
        encoded(Image.new("RGB", (2001, 100)), "PNG"),
    ],
    ids=["empty", "text", "gif", "tiny", "thread"],
)
def test_what_has_nothing_to_see_is_refused_by_its_header(data: bytes) -> None:
    with pytest.raises(ImageUnreadable):
        images.size(Picture(data))


def test_a_truncated_picture_is_refused_when_it_is_decoded() -> None:
    data = paint(300, 200).data
    assert images.size(Picture(data[:-500])) == (200, 300)
    with pytest.raises(ImageUnreadable):
        images.tiles([Picture(data[:-500])], RELEASED)


def test_features_equal_the_models_to_the_last_bit(checkpoint: Checkpoint) -> None:
    """Although the engine leaves out the layer of the tower whose output nobody sees."""
    loaded, layers = checkpoint.loaded(), len(checkpoint.model.model.vision_tower.encoder.layers)
    picture = paint(200, 90)
    inputs = checkpoint.processor.image_processor(
        Image.open(io.BytesIO(picture.data)), return_tensors="pt"
    )
    with torch.no_grad():
        (theirs,) = checkpoint.model.get_image_features(**inputs).pooler_output
    vision = Vision(loaded.model, loaded.levels)
    (ours,) = vision.features([(images.tiles([picture], loaded.tiling)[0], (90, 200))])
    assert torch.equal(ours, theirs)
    assert len(loaded.model.model.vision_tower.encoder.layers) == layers - 1


def test_a_pool_of_processes_gives_the_same_and_survives_a_bad_picture() -> None:
    preprocessor = Preprocessor(RELEASED, processes=1)
    try:
        good = paint(300, 200)
        with pytest.raises(ImageUnreadable):
            preprocessor.cut([Picture(good.data[:-500])]).result(PATIENCE_S)
        (cut,) = preprocessor.cut([good]).result(PATIENCE_S)
        assert np.array_equal(cut, images.tiles([good], RELEASED)[0])
    finally:
        preprocessor.close()
