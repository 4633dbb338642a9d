"""The system's Chromium, as somebody sits before it."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

DESK = {"width": 1280, "height": 860}
PHONE = {"width": 390, "height": 844}
PATIENCE_MS = 120_000


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


NewPage = Callable[..., Page]


@contextlib.contextmanager
def quiet_pages(browser: Browser, url: str, session: Any) -> Iterator[NewPage]:
    """Opens pages for who is signed in (or not, with ``storage_state=None``), with any options.

    A page must leave the browser's console empty: no error of a script, nothing that the pages'
    own policy had to stop.
    """
    problems: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # A page that is not there, or not allowed, is meant where a test opens it.
        if message.type in {"error", "warning"} and "a status of 4" not in message.text:
            problems.append(message.text)

    with contextlib.ExitStack() as opened:

        def open_one(**options: Any) -> Page:
            settings = {"storage_state": session, **options}
            page = opened.enter_context(visit(browser, url, **settings)).new_page()
            # In time: where one is expected, what is to catch the dialogue is not waited for.
            page.on("filechooser", lambda _: None)
            page.on("console", note)
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on("dialog", lambda dialog: problems.append(f"a dialog: {dialog.message}"))
            return page

        yield open_one
    assert problems == []


def sign_in(page: Page, key: str) -> None:
    """Sign in with a key, as a person does."""
    page.goto("/sign-in")
    page.locator("#key").fill(key)
    page.locator("main button").click()
    page.wait_for_url(lambda url: "/sign-in" not in url)


def signed_in(browser: Browser, url: str, key: str) -> Any:
    """What the browser of somebody keeps who signed in with a key."""
    with visit(browser, url) as context:
        sign_in(context.new_page(), key)
        return context.storage_state()
