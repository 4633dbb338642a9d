"""An installation in the middle of its day, and its operator at the pages."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.browsers import quiet_pages, signed_in
from tests.browser.busy import Busy, busy
from tests.browser.operations.overview import Open


@pytest.fixture(scope="package")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Busy]:
    """An installation in the middle of its day."""
    with busy(tmp_path_factory.mktemp("busy")) as made:
        made.fill()
        yield made


@pytest.fixture(scope="module")
def session(browser: Browser, day: Busy) -> Any:
    """What the browser of an operator keeps."""
    return signed_in(browser, day.url, day.operator)


@pytest.fixture
def opened(browser: Browser, day: Busy, session: Any) -> Iterator[Open]:
    """Opens pages for the operator."""
    with quiet_pages(browser, day.url, session) as opens:

        def one(path: str = "/console", **options: Any) -> Page:
            page = opens(**options)
            page.goto(path)
            return page

        yield one
