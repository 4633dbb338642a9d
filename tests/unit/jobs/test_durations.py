"""Durations as people write them."""

import pytest

from jobs.durations import milliseconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("2h", 7_200_000), ("7d", 604_800_000)],
)
def test_a_number_and_its_unit_are_a_duration(text: str, expected: int) -> None:
    assert milliseconds(text) == expected


@pytest.mark.parametrize(
    "text", ["", "5", "s", "0s", "05s", "-1s", "1.5h", "1 h", "1w", "1H", "٣s"]
)
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="such as"):
        milliseconds(text)
