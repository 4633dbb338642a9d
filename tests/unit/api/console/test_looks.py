"""Each colour of the pages stands in one place, with its light and its dark value."""

import re
from pathlib import Path

import pytest

STATIC = Path(__file__).parents[4] / "api" / "console" / "static"


@pytest.mark.parametrize("name", ["console.css", "operations.css", "docs.css"])
def test_a_colour_is_set_once_for_both_looks(name: str) -> None:
    text = (STATIC / name).read_text()
    tokens = re.findall(r"^\s*(--(?!pico-|key)[\w-]+): ([^;]+);", text, re.MULTILINE)
    assert len({token for token, _ in tokens}) == len(tokens)
    for token, value in tokens:
        if re.match(r"#|rgb", value):
            pytest.fail(f"{token} has no dark value")
