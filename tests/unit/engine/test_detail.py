"""A picture larger than the grids is looked at in overlapping parts, if its asker wants that."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.unit.engine.conftest import Checkpoint, NewEngine, ask, paint
from worker.engine import Engine, Picture, PromptTooLong, Turn
from worker.engine.vision import images
from worker.engine.vision.detail import MOST, crops, layouts
from worker.engine.vision.images import Tiling

RELEASED = Tiling(336, ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008)), 24)
LARGE = paint(1200, 900)


def in_detail(picture: Picture) -> Picture:
    return Picture(picture.data, detail="high")


def cut_out(picture: Picture, box: tuple[int, int, int, int]) -> Picture:
    """A file of a part alone."""
    file = io.BytesIO()
    Image.open(io.BytesIO(picture.data)).crop(box).save(file, "PNG")
    return Picture(file.getvalue())


@pytest.mark.parametrize(
    ("width", "height", "parts", "scale"),
    [
        (672, 672, 0, 1.0),
        (300, 200, 0, 1.0),
        (900, 700, 3, 1.0),
        (4000, 3000, 9, 0.42),
        (4000, 1000, 5, 0.67),
    ],
)
def test_as_many_parts_as_it_takes_to_see_all(
    width: int, height: int, parts: int, scale: float
) -> None:
    boxes = crops(height, width, RELEASED, MOST)
    assert len(boxes) == parts
    for left, top, right, bottom in boxes:
        assert RELEASED.scale(bottom - top, right - left) == pytest.approx(scale, abs=0.02)


@given(
    st.integers(16, 5000), st.integers(16, 5000), st.integers(2, MOST), st.floats(0, 1), st.data()
)
def test_whatever_is_smaller_than_the_overlap_is_whole_in_some_part(
    width: int, height: int, most: int, part: float, data: st.DataObject
) -> None:
    boxes = crops(height, width, RELEASED, most)
    if not boxes or max(width, height) > 20 * min(width, height):
        return
    assert len(boxes) <= most
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
    sides = boxes[0][2] - boxes[0][0], boxes[0][3] - boxes[0][1]
    thing = [int(part * 0.24 * side) for side in sides]
    x = data.draw(st.integers(0, width - thing[0]))
    y = data.draw(st.integers(0, height - thing[1]))
    whole = [
        left <= x and top <= y and x + thing[0] <= right and y + thing[1] <= bottom
        for left, top, right, bottom in boxes
    ]
    assert any(whole)


def test_answers_equal_those_about_the_parts_as_pictures(
    engine: Engine, checkpoint: Checkpoint
) -> None:
    tiling = checkpoint.loaded().tiling
    boxes = crops(900, 1200, tiling, MOST)
    assert len(boxes) > 1
    parts = [cut_out(LARGE, box) for box in boxes]
    detailed = engine.submit(ask(in_detail(LARGE), "What is small?")).result()
    assert list(detailed.token_ids) == checkpoint.generate(ask(LARGE, *parts, "What is small?"))
    plain = engine.submit(ask(LARGE, "What is small?")).result()
    assert detailed.prompt_tokens > 5 * plain.prompt_tokens


def test_a_second_question_finds_the_parts_in_the_cache(engine: Engine) -> None:
    engine.submit(ask(in_detail(LARGE), "One?", scope="parts")).result()
    second = engine.submit(ask(in_detail(LARGE), "Two?", scope="parts")).result()
    assert second.cached_tokens > 0.9 * second.prompt_tokens


def test_only_as_much_detail_as_the_context_has_room_for(new_engine: NewEngine) -> None:
    engine = new_engine(slots=1, cache_tokens=1600)
    whole = engine.submit(ask(LARGE, "?")).result().prompt_tokens
    some = engine.submit(ask(in_detail(LARGE), "?")).result().prompt_tokens
    assert whole < some <= 1600
    with pytest.raises(PromptTooLong, match="less detail"):
        engine.submit(ask(in_detail(LARGE), "?", max_new_tokens=1000))


def test_a_part_is_decoded_with_its_picture(checkpoint: Checkpoint) -> None:
    tiling = checkpoint.loaded().tiling
    ((turn,), *_) = layouts([Turn("user", (in_detail(LARGE), "?"))], tiling)
    shown = turn.pictures
    assert shown[0].box is None
    assert all(one.data is LARGE.data for one in shown)
    for one, ours in zip(shown, images.tiles(shown, tiling), strict=True):
        (theirs,) = images.tiles([cut_out(one, one.box) if one.box else one], tiling)
        assert (ours == theirs).all()
