"""One Chromium, one installation with the demo model, and visitors who notice what goes wrong."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page

from tests.browser.browsers import chromium, program, sign_in, visit
from tests.conftest import absent
from tests.installations import Installation, run

NewPage = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    if program() is None:
        absent("no Chromium to test with: run tests/fetch-tools")
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def session(browser: Browser, answering: Installation) -> Any:
    """The cookies of somebody who signed in with the installation's key."""
    with visit(browser, answering.url) as context:
        sign_in(context.new_page(), answering.key)
        return context.storage_state()


@pytest.fixture
def new_page(browser: Browser, answering: Installation, session: Any) -> Iterator[NewPage]:
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
            page = opened.enter_context(visit(browser, answering.url, **settings)).new_page()
            page.on("console", note)
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on("dialog", lambda dialog: problems.append(f"a dialog: {dialog.message}"))
            return page

        yield open_one
    assert problems == []


@pytest.fixture
def page(new_page: NewPage) -> Page:
    """A page at a desk, for who is signed in."""
    return new_page()


@pytest.fixture
def halted(answering: Installation) -> Iterator[Callable[[], None]]:
    """The worker stands still until what is given is called, or the test is over."""
    worker = answering.process("celery")

    def go_on() -> None:
        os.kill(worker.pid, signal.SIGCONT)

    os.kill(worker.pid, signal.SIGSTOP)
    yield go_on
    go_on()


@pytest.fixture(scope="module")
def strangers_key(answering: Installation) -> str:
    """A key of another tenant."""
    place = ("--data-dir", str(answering.data_dir))
    status, key = run("keys", "create", "--tenant", "other", *place)
    assert status == 0, key
    return key.strip()
