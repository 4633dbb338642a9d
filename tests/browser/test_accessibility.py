"""Everybody can use the pages: axe finds nothing, in every look, and a phone shows all of them."""

from typing import Any

import pytest
from playwright.sync_api import expect

from llava_jobs.demo import PICTURES
from tests.browser.axe import flawless
from tests.browser.browsers import PHONE, NewPage

LOOKS: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "zh": {"locale": "zh-CN"},
    "phone": {"viewport": PHONE, "has_touch": True},
    "dark phone": {"viewport": PHONE, "color_scheme": "dark"},
}


@pytest.mark.parametrize("look", LOOKS)
def test_no_page_has_a_barrier(new_page: NewPage, look: str) -> None:
    page = new_page(**LOOKS[look])
    page.goto("/")
    flawless(page)
    page.locator("#image").set_input_files(PICTURES / "landscape.jpg")
    page.locator("#question").fill("What is the error code?")
    page.locator("#chosen").wait_for()
    flawless(page)
    page.locator("#ask").click()
    expect(page.locator(".turn .words")).to_have_text("The code is E42.")
    flawless(page)
    page.locator(".turn a.aside").click()
    expect(page.locator("#lead h1")).to_be_visible()
    page.locator(".confirm summary").click()
    page.locator("details.code summary").click()
    flawless(page)
    page.locator(".veil label").click()
    flawless(page)
    page.goto("/jobs/nothing")
    flawless(page)


@pytest.mark.parametrize("look", LOOKS)
def test_nor_has_the_door(new_page: NewPage, look: str) -> None:
    page = new_page(storage_state=None, **LOOKS[look])
    page.goto("/sign-in")
    flawless(page)
    page.locator("#key").fill("nonsense")
    page.locator("main button").click()
    expect(page.get_by_role("alert")).to_be_visible()
    flawless(page)
