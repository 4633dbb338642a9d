"""One Chromium, one installation with the demo model, and visitors who notice what goes wrong."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.browsers import NewPage, chromium, program, quiet_pages, signed_in
from tests.conftest import absent
from tests.installations import Installation, run


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
    return signed_in(browser, answering.url, answering.key)


@pytest.fixture
def new_page(browser: Browser, answering: Installation, session: Any) -> Iterator[NewPage]:
    """Opens pages of the installation."""
    with quiet_pages(browser, answering.url, session) as opens:
        yield opens


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
