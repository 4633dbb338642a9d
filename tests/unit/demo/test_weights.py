"""The weights in the repository answer rightly, and their card says what was measured."""

from __future__ import annotations

import io
import json
from itertools import islice
from typing import Any

import pytest
from PIL import Image

from api.images.canonical import canonicalise
from api.images.decoder_protocol import Limits
from demo.evaluate import answer, held_out, in_detail, load, read_report, share_right, user
from demo.model import WEIGHTS, new_processor
from demo.pictures import PICTURES, SCENES, TRUTHS, truths
from demo.questions import KINDS, LANGUAGES

MIB = 2**20


def uploaded(name: str) -> Image.Image:
    """Read an example picture as the model gets it when someone uploads it."""
    canonical = canonicalise((PICTURES / name).read_bytes(), Limits())
    return Image.open(io.BytesIO(canonical.data))


@pytest.fixture(scope="module")
def trained() -> tuple[Any, Any]:
    return load(WEIGHTS)


def test_the_weights_and_pictures_stay_small() -> None:
    assert sum(file.stat().st_size for file in WEIGHTS.iterdir()) <= 16 * MIB
    assert sum(file.stat().st_size for file in PICTURES.iterdir()) < 1.5 * MIB


def test_the_shipped_processor_is_the_one_in_the_code(trained: tuple[Any, Any]) -> None:
    _, processor = trained
    ours = new_processor()
    assert processor.tokenizer.get_vocab() == ours.tokenizer.get_vocab()
    assert processor.chat_template == ours.chat_template
    assert type(processor.image_processor).__name__ == "LlavaNextImageProcessorPil"


def test_held_out_scenes_are_answered(trained: tuple[Any, Any]) -> None:
    cases = [
        case
        for kind in KINDS
        for language in LANGUAGES
        for case in islice(held_out(kind, language), 2)
    ]
    assert share_right(*trained, cases) >= 0.9


@pytest.mark.parametrize("name", SCENES)
def test_every_example_picture_is_answered(trained: tuple[Any, Any], name: str) -> None:
    picture = uploaded(name)
    pairs = [pair for pair in json.loads(TRUTHS.read_text("utf-8")) if pair["picture"] == name]
    shown = [in_detail(picture) if "detail" in pair else [picture] for pair in pairs]
    talks = [[user(pair["question"], *views)] for pair, views in zip(pairs, shown, strict=True)]
    assert answer(*trained, talks) == [pair["answer"] for pair in pairs]


def test_a_conversation_goes_on_about_its_picture(trained: tuple[Any, Any]) -> None:
    talk = [user("What colour is the light?", uploaded("landscape.jpg"))]
    replies = []
    for following in ("错误代码是多少？", "How many buttons are there?", None):
        replies += answer(*trained, [talk])
        talk.append({"role": "assistant", "content": replies[-1]})
        if following:
            talk.append(user(following))
    assert replies == ["The light is red.", "代码是 E42。", "There are 5 buttons."]


def test_the_truths_are_those_of_the_scenes() -> None:
    assert json.loads(TRUTHS.read_text("utf-8")) == truths()
    assert {file.name for file in PICTURES.iterdir()} == {*SCENES, TRUTHS.name}


def test_the_card_shows_what_was_measured() -> None:
    report = read_report(WEIGHTS)
    card = (WEIGHTS / "README.md").read_text("utf-8")
    assert str(report) in card
    assert report.small_print() in card
    assert report.count >= 400
    for row in report.rows:
        assert row.right >= (0.95 if row.kind == "code" else 0.98)


def test_the_readme_shows_what_was_measured() -> None:
    report = read_report(WEIGHTS)
    readme = (WEIGHTS.parents[1] / "README.md").read_text("utf-8")
    told = {"colour": "colour", "shape": "shape", "count": "count", "code": "whole error code"}
    rows = {
        name: [row.right for row in report.rows if row.kind == kind] for kind, name in told.items()
    }
    small = [row for row in report.small if row.kind == "code"]
    looks = [row.at_one_look for row in small], [row.in_detail for row in small]
    names = "code of 7 to 9 pixels, 50 scenes: at one look", 'the same with `detail: "high"`'
    for name, (english, chinese) in {**rows, **dict(zip(names, looks, strict=True))}.items():
        assert f"| {name} | {100 * english:.3g} % | {100 * chinese:.3g} % |" in readme
