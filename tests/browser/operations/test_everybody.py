"""Everybody can use the pages of operations: keyboard, menus, and nothing that axe finds."""

from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.axe import flawless
from tests.browser.browsers import PHONE
from tests.browser.busy import Busy
from tests.browser.operations.overview import WORKER, Open

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "zh": {"locale": "zh-CN"},
    "phone": {"viewport": PHONE, "is_mobile": True, "has_touch": True},
}


@pytest.mark.parametrize("path", ["/console", "/console/keys"])
def test_a_menu_closes_with_escape_or_a_press_beside_it_or_for_another(
    opened: Open, path: str
) -> None:
    page = opened(path)
    first, second = (page.locator("details.menu").nth(number) for number in (0, 1))
    first.locator("summary").click()
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(first).not_to_have_attribute("open", "")
    expect(first.locator("summary")).to_be_focused()
    first.locator("summary").click()
    expect(first).to_have_attribute("open", "")
    first.locator("form").click(position={"x": 1, "y": 1})
    expect(first).to_have_attribute("open", "")
    second.locator("summary").click()
    expect(second).to_have_attribute("open", "")
    expect(first).not_to_have_attribute("open", "")
    page.locator("h1").click()
    expect(second).not_to_have_attribute("open", "")


def test_it_works_by_keyboard_alone(day: Busy, opened: Open) -> None:
    page = opened()
    page.locator(f"#worker-{WORKER} summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(f"#worker-{WORKER} .badge")).to_have_text("draining")
    page.locator(f"#worker-{WORKER} button").focus()
    page.keyboard.press("Enter")
    expect(page.locator(f"#worker-{WORKER} .badge")).to_have_text("ready")


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("path", ["/console", "/console/keys"])
def test_axe_finds_nothing_with_everything_opened(
    day: Busy, opened: Open, look: str, path: str
) -> None:
    page = opened(path, **LOOKS[look])
    page.evaluate(
        """for (const one of document.querySelectorAll("details")) {
            one.removeAttribute("name");
            one.open = true;
        }"""
    )
    flawless(page)


def test_axe_finds_nothing_while_it_is_paused(day: Busy, opened: Open) -> None:
    page = opened()
    page.get_by_text("Pause for everybody").click()
    page.get_by_role("button", name="Pause now").click()
    resume = page.get_by_role("button", name="Resume for everybody")
    expect(resume).to_be_visible()
    try:
        flawless(page)
    finally:
        resume.click()
