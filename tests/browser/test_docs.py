"""The page that describes the API, in a browser: everybody can read it, by day and by night."""

from typing import Any

import pytest

from tests.browser.axe import flawless
from tests.browser.browsers import DESK, PHONE, NewPage


@pytest.mark.parametrize(
    ("scheme", "screen"), [("light", DESK), ("dark", PHONE)], ids=["desk by day", "phone by night"]
)
def test_everybody_can_read_it(new_page: NewPage, scheme: str, screen: dict[str, Any]) -> None:
    page = new_page(storage_state=None, color_scheme=scheme, viewport=screen)
    page.goto("/docs")
    flawless(page)


@pytest.mark.parametrize("screen", [DESK, PHONE], ids=["desk", "phone"])
def test_no_line_ends_with_an_opening_bracket(new_page: NewPage, screen: dict[str, Any]) -> None:
    page = new_page(storage_state=None, viewport=screen)
    page.goto("/docs")
    told = page.evaluate(
        """() => {
            const found = {seen: 0, broken: []};
            for (const details of document.querySelectorAll("details")) details.open = true;
            for (const code of document.querySelectorAll("main :is(p, td, th) code")) {
                const before = code.previousSibling;
                const shown = code.getClientRects();
                if (!shown.length || !before?.data?.endsWith("(")) continue;
                const bracket = document.createRange();
                bracket.setStart(before, before.length - 1);
                bracket.setEnd(before, before.length);
                found.seen += 1;
                const {top, bottom} = bracket.getBoundingClientRect();
                const line = shown[0];
                if (line.top >= bottom || line.bottom <= top) found.broken.push(code.textContent);
            }
            return found;
        }"""
    )
    assert told["seen"] > 2
    assert told["broken"] == []


def test_without_a_script_all_of_it_is_there(new_page: NewPage) -> None:
    page = new_page(storage_state=None, java_script_enabled=False)
    page.goto("/docs")
    page.get_by_role("link", name="Submit a job").first.click()
    assert page.url.endswith("#create_job")
    place = page.locator("#create_job")
    assert place.is_visible()
    place.get_by_text("Errors", exact=True).click()
    assert place.get_by_role("link", name="image_missing").is_visible()
