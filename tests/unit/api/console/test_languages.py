"""English and Chinese: the same texts in both, and every one in use."""

import json
import re
from pathlib import Path

import pytest

from api.console.languages import LANGUAGES, language
from tests.unit.api.console.conftest import Browser

API = Path(__file__).parents[4] / "api"
SOURCES = [*(API / "templates").rglob("*.html"), *(API / "console").rglob("*.py")]
USED = re.compile(r"""\bt\(\s*["']([a-z0-9_.]+[a-z0-9_])["']""")
BUILT = re.compile(r"""["']((?:[a-z0-9_]+\.)+)["']\s*(?:~|\+)|f["']((?:[a-z0-9_]+\.)+)\{""")


def catalogue(code: str) -> dict[str, str]:
    """A language's texts, where no key is there twice."""
    pairs = json.loads(
        (API / "translations" / f"{code}.json").read_text("utf-8"), object_pairs_hook=list
    )
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def places(text: str) -> set[str]:
    """The values that a text has places for."""
    return set(re.findall(r"\{(\w+)\}", text))


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_language_says_the_same(code: str) -> None:
    english, other = catalogue("en"), catalogue(code)
    assert other.keys() == english.keys()
    assert {key for key in english if places(english[key]) != places(other[key])} == set()
    assert all(text.strip() for text in other.values())


def test_every_text_that_is_used_is_there_and_every_one_there_is_used() -> None:
    texts = [path.read_text() for path in SOURCES]
    used = {key for text in texts for key in USED.findall(text)}
    prefixes = tuple({a or b for text in texts for a, b in BUILT.findall(text)})
    known = catalogue("en").keys()
    assert used - known == set()
    assert {key for key in known - used if not key.startswith(prefixes)} == set()


def test_a_browser_is_spoken_to_in_its_language(visitor: Browser) -> None:
    page = visitor.get("/sign-in", **{"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.5"}).text
    assert 'lang="zh-CN"' in page
    assert language("zh")("sign_in.title") in page
    assert 'html lang="en"' in visitor.get("/sign-in", **{"Accept-Language": "fr"}).text


def test_a_choice_outlives_the_page_and_goes_before_what_the_browser_prefers(
    visitor: Browser,
) -> None:
    visitor.get("/sign-in")
    response = visitor.post("/taste", language="zh", theme="dark", next="/sign-in?next=/x")
    assert response.headers["Location"] == "/sign-in?next=/x"
    page = visitor.get("/sign-in", **{"Accept-Language": "en"}).text
    assert '<html lang="zh-CN" data-theme="dark">' in page
    visitor.post("/taste", language="tlh", theme="<script>")
    assert '<html lang="zh-CN" data-theme="dark">' in visitor.get("/sign-in").text
