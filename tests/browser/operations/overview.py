"""What tests of the pages of operations look at."""

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page

WORKER = "gpu-1-4711-a1b2c3"
Open = Callable[..., Page]


def in_time(page: Page) -> Page:
    """The page, brought up to date as its clock would in a few seconds."""
    with page.expect_response("**/console"):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    return page


def notice(page: Page) -> Any:
    """What was done, as the page says it."""
    return page.locator("main [role=status].notice")


def tile(page: Page, name: str) -> str:
    """What a tile shows."""
    return page.locator(f"#tile-{name} dd").first.inner_text()
