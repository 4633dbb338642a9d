"""Questions have one true answer each, in the language they are asked in."""

from __future__ import annotations

from random import Random
from typing import get_args

import pytest

from demo.questions import (
    HELD_OUT_PHRASES,
    KINDS,
    LANGUAGES,
    PHRASES,
    UNSEEN,
    Kind,
    Language,
    ask,
    truth,
)
from demo.scenes import Scene

FULL = Scene("red", "star", 4, "E42", (320, 240), 5)
BARE = Scene(None, None, 0, None, (320, 240), 5)


def test_truths_are_spelled_as_people_say_them() -> None:
    assert [truth(FULL, kind, "en") for kind in KINDS] == [
        "The light is red.",
        "The icon is a star.",
        "There are 4 buttons.",
        "The code is E42.",
        "I cannot see that.",
    ]
    assert [truth(FULL, kind, "zh") for kind in KINDS] == [
        "灯是红色的。",
        "图标是星形。",
        "按钮有 4 个。",
        "代码是 E42。",
        "我看不到。",
    ]
    assert truth(Scene(None, None, 1, None, (1, 1), 0), "count", "en") == "There is 1 button."


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_missing_cannot_be_seen(kind: Kind, language: Language) -> None:
    assert ask(BARE, kind, language, Random(0)).truth == UNSEEN[language]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_many_phrasings_and_some_kept_for_measuring(
    kind: Kind, language: Language
) -> None:
    known, new = PHRASES[language, kind], HELD_OUT_PHRASES[language, kind]
    assert len(set(known)) >= 8
    assert len(set(new)) >= 2
    assert not set(known) & set(new)


def test_a_question_follows_from_its_chance_alone() -> None:
    assert set(get_args(Kind)) == set(KINDS)
    first = [ask(FULL, "code", "en", Random(i)) for i in range(50)]
    assert first == [ask(FULL, "code", "en", Random(i)) for i in range(50)]
    assert len({question.text for question in first}) > 20
