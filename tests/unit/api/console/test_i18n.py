"""English and Chinese: the same texts in both, and every one in use."""

import json
import re
from pathlib import Path

import pytest

from api.console.i18n import LANGUAGES, language
from api.openapi.error_codes import faults
from api.openapi.refusals import errors_of
from api.openapi.sections import operations
from tests.unit.api.console.conftest import Browser

API = Path(__file__).parents[4] / "api"
SOURCES = [*(API / "console" / "templates").rglob("*.html"), *(API / "console").rglob("*.py")]
USED = re.compile(r"""\bt(?:\.count)?\(\s*["']([a-z0-9_.]+[a-z0-9_])["']""")
COUNTED = re.compile(r"""\bt\.count\(\s*["']([a-z0-9_.]+)["']""")
BUILT = re.compile(r"""["']((?:[a-z0-9_]+\.)+)["']\s*(?:~|\+)|f["']((?:[a-z0-9_]+\.)+)\{""")


def catalogue(code: str) -> dict[str, str]:
    """A language's texts, where no key is there twice."""
    pairs = json.loads(
        (API / "console/translations" / f"{code}.json").read_text("utf-8"), object_pairs_hook=list
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
    counted = {key for text in texts for key in COUNTED.findall(text)}
    used |= {f"{key}.one" for key in counted}
    assert used - known == set()
    assert {key for key in known - used if not key.startswith(prefixes)} == set()


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 workers take"), (1, "1 worker takes"), (2, "2 workers take")]
)
def test_one_of_a_thing_is_not_told_as_many(count: int, text: str) -> None:
    assert language("en").count("console.tile.ready", count).startswith(text)
    assert str(count) in language("zh").count("console.tile.ready", count)


NOT_OF_A_FORM = {
    *("malformed_request", "malformed_json", "not_an_object", "unsupported_media_type"),
    *("unknown_field", "missing_field", "invalid_field", "conflicting_fields", "not_found"),
    *("invalid_api_key", "expired_api_key", "headers_too_large", "url_too_long"),
    *("idempotency_mismatch", "deadline_unmeetable", "invalid_base64", "too_many_images"),
    *("image_not_found", "image_url_off", "image_url_invalid", "image_url_forbidden"),
    *("image_url_timeout", "image_url_failed", "webhook_url_invalid", "webhook_url_forbidden"),
    *("webhook_secret_missing", "internal_error"),
}
"""Codes that only calls of the API can meet, or that the page has general words for."""
OF_PAGES = {"forged_request", "session_over"}


def test_every_refusal_that_a_form_can_meet_is_told_in_each_language_and_no_other() -> None:
    calls = {operation.call: operation for operation in operations()}
    asked = ("POST /v1/jobs", "POST /v1/jobs/{job_id}/cancel")
    met = {code for call in asked for codes in errors_of(calls[call]).values() for code in codes}
    texts = {key.removeprefix("refused.") for key in catalogue("en") if key.startswith("refused.")}
    assert texts - faults("calls").keys() == set(), "a code that nothing raises"
    assert texts == (met | OF_PAGES) - NOT_OF_A_FORM


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
