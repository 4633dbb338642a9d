"""Lengths of time as people read them."""

import pytest

from api.console.formatting import clock, span


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (-3, "0 ms"),
        (340.4, "340 ms"),
        (4_240, "4.2 s"),
        (42_400, "42 s"),
        (60_000, "1 min"),
        (185_000, "3 min 5 s"),
        (7_200_000, "2 h"),
        (9_000_000, "2 h 30 min"),
        (200_000_000, "2 d 7 h"),
    ],
)
def test_a_span_has_the_units_that_matter(milliseconds: float, text: str) -> None:
    assert span(milliseconds) == text


def test_a_time_is_told_in_utc() -> None:
    assert clock(1_795_633_445_000) == "2026-11-25 19:04:05 UTC"
