"""The page that describes the API, in a browser: everybody can read it, by day and by night."""

import shutil
from collections.abc import Iterator
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ViewportSize, sync_playwright

from tests.conftest import absent
from tests.installations import Installation


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The system's Chromium."""
    program = shutil.which("chromium")
    if program is None:
        absent("no Chromium to test with: run tests/fetch-tools")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_everybody_can_read_it(
    chromium: Browser, answering: Installation, scheme: Literal["light", "dark"], width: int
) -> None:
    # axe is a script, which the page's own policy keeps out.
    size: ViewportSize = {"width": width, "height": 900}
    with chromium.new_context(color_scheme=scheme, viewport=size, bypass_csp=True) as context:
        page = context.new_page()
        page.goto(f"{answering.url}/docs")
        found = Axe().run(page).response["violations"]
        assert [(violation["id"], violation["nodes"][0]["html"]) for violation in found] == []
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, "it scrolls to the side"


def test_without_a_script_all_of_it_is_there_and_nothing_is_refused(
    chromium: Browser, answering: Installation
) -> None:
    told: list[str] = []
    with chromium.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.on("console", lambda message: told.append(message.text))
        page.goto(f"{answering.url}/docs")
        page.get_by_role("link", name="Submit a job").first.click()
        assert page.url.endswith("#create_job")
        place = page.locator("#create_job")
        assert place.is_visible()
        place.get_by_text("Errors", exact=True).click()
        assert place.get_by_role("link", name="image_missing").is_visible()
    assert told == []
