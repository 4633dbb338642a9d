"""Text before a stop string is given out as soon as it is certain, and nothing of the string."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engine.stopping import before, certain, find


@pytest.mark.parametrize(
    ("text", "stop", "kept"),
    [
        ("one two three", ("two",), "one "),
        ("one two three", ("three", "two"), "one "),
        ("one two three", ("four",), "one two three"),
        ("one two three", (), "one two three"),
        ("two", ("two",), ""),
    ],
)
def test_a_text_ends_before_the_first_stop_string(
    text: str, stop: tuple[str, ...], kept: str
) -> None:
    assert before(text, stop) == kept
    assert find(text, stop) == (None if kept == text else len(kept))


@given(st.text("ab\n", max_size=30), st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3))
def test_what_is_certain_stays_and_only_that_is_held_back_which_may_go(
    text: str, stop: list[str]
) -> None:
    end = before(text, stop)
    for length in range(len(text) + 1):
        assert end.startswith(certain(text[:length], stop))
    held = end[len(certain(end, stop)) :]
    assert not held or any(word.startswith(held) for word in stop)
