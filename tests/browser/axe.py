"""axe, which finds what keeps people out of a page."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

OPTIONS = {
    "resultTypes": ["violations"],
    "rules": {"target-size": {"enabled": True}},
    "preload": False,  # it would put style sheets into the page, which the page's policy stops
}


def flawless(page: Page) -> None:
    """Hold a page to all of axe's rules, and to the width of its screen."""
    page.wait_for_load_state()  # sizes are those of the styles
    found = Axe().run(page, options=OPTIONS)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), page.url
