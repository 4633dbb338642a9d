"""The system's Chromium, as somebody sits before it."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

DESK = {"width": 1280, "height": 860}
PHONE = {"width": 390, "height": 844}
PATIENCE_MS = 20_000


def program() -> str | None:
    """Where Chromium is; None where it is not installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A Chromium without a window."""
    expect.set_options(timeout=PATIENCE_MS)
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program(), args=[*sandbox, "--disable-gpu", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            browser.close()


def visit(browser: Browser, url: str, **options: Any) -> BrowserContext:
    """A visitor of an installation, with no cookie unless the options bring some."""
    settings = {"locale": "en-GB", "timezone_id": "UTC", "viewport": DESK, **options}
    context = browser.new_context(base_url=url, reduced_motion="reduce", **settings)
    context.set_default_timeout(PATIENCE_MS)
    return context


def sign_in(page: Page, key: str) -> None:
    """Sign in with a key, as a person does."""
    page.goto("/sign-in")
    page.locator("#key").fill(key)
    page.locator("main button").click()
    page.wait_for_url(lambda url: "/sign-in" not in url)
