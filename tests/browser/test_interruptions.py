"""Sessions that end and servers that go away while somebody asks: nothing typed is lost."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from llava_jobs.demo import PICTURES
from tests.browser.axe import flawless
from tests.browser.browsers import NewPage, sign_in, visit
from tests.browser.questions import CODE, RED, ask
from tests.installations import Installation


@pytest.fixture
def cut_off(browser: Browser, answering: Installation, session: Any) -> Iterator[Page]:
    """A page whose browser may say in its console that nothing can be reached."""
    with visit(browser, answering.url, storage_state=session) as context:
        yield context.new_page()


def test_asking_a_server_that_is_away_is_told_and_nothing_is_lost(cut_off: Page) -> None:
    page = cut_off
    page.goto("/")
    page.locator("#image").set_input_files(PICTURES / "landscape.jpg")
    page.locator("#question").fill("What is the error code?")
    page.context.set_offline(True)
    page.locator("#ask").click()
    expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached")
    expect(page.locator("#question")).to_have_value("What is the error code?")
    page.context.set_offline(False)
    page.locator("#ask").click()
    expect(page.locator(".turn .words")).to_have_text(CODE)
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_waiting_card_says_that_its_server_is_away_and_goes_on_when_it_is_back(
    cut_off: Page, halted: Callable[[], None]
) -> None:
    page = cut_off
    page.route("**/events", lambda route: route.abort("connectionrefused"))
    turn = ask(page, "What colour is the light, out of reach?")
    lost = turn.get_by_text("The server cannot be reached. Trying again")
    expect(lost).to_be_visible()
    flawless(page)
    page.unroute("**/events")
    expect(lost).to_be_hidden()
    halted()
    expect(turn.locator(".words")).to_have_text(RED)


def sign_out_elsewhere(page: Page) -> None:
    """End the session of a page, which does not learn of it."""
    other = page.context.new_page()
    other.goto("/")
    other.get_by_role("button", name="Sign out").click()
    expect(other).to_have_url(re.compile("/sign-in$"))
    other.close()


def sign_in_beside(page: Page, key: str) -> None:
    """Sign in by the link of a page that says that the session is over."""
    with page.expect_popup() as door:
        page.locator("main a[href='/sign-in']").click()
    door.value.locator("#key").fill(key)
    door.value.keyboard.press("Enter")
    expect(door.value.locator("#composer")).to_be_visible()
    door.value.close()


def test_when_the_session_is_over_the_form_is_kept_and_sent_after_signing_in_again(
    new_page: NewPage, answering: Installation
) -> None:
    page = new_page(storage_state=None)
    sign_in(page, answering.key)
    page.locator("#image").set_input_files(PICTURES / "landscape.jpg")
    page.locator("#question").fill("What is the error code?")
    sign_out_elsewhere(page)
    page.locator("#ask").click()
    expect(page.get_by_role("alert")).to_contain_text("Your session is over")
    flawless(page)
    expect(page.locator("#chosen-name")).to_have_text("landscape.jpg")
    expect(page.locator("#question")).to_have_value("What is the error code?")
    sign_in_beside(page, answering.key)
    page.locator("#ask").click()
    expect(page.locator(".turn .words")).to_have_text(CODE)
    expect(page.get_by_role("alert")).to_have_count(0)


def test_without_scripts_what_was_sent_when_the_session_was_over_is_sent_by_a_reload(
    new_page: NewPage, answering: Installation
) -> None:
    page = new_page(java_script_enabled=False, storage_state=None)
    sign_in(page, answering.key)
    page.locator("#image").set_input_files(PICTURES / "landscape.jpg")
    page.locator("#question").fill("What is the error code?")
    sign_out_elsewhere(page)
    page.locator("#ask").click()
    expect(page.locator("main")).to_contain_text("Your session is over.")
    sign_in_beside(page, answering.key)
    page.reload()
    expect(page.locator(".answer .words")).to_have_text(CODE)


def test_a_session_that_ends_while_a_question_waits_takes_nothing_of_the_next_one(
    new_page: NewPage, answering: Installation, halted: Callable[[], None]
) -> None:
    page = new_page(storage_state=None)
    sign_in(page, answering.key)
    turn = ask(page, "What colour is the light, at the end of a session?")
    expect(turn.locator(".state")).to_be_visible()
    page.locator("#question").fill("And the next one?")
    sign_out_elsewhere(page)
    halted()
    expect(page.get_by_role("alert")).to_contain_text("Your session is over")
    expect(page.locator("#question")).to_have_value("And the next one?")
    sign_in_beside(page, answering.key)
    expect(turn.locator(".words"), "the page looks again by itself").to_have_text(RED)
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_page_opened_without_a_session_leads_to_the_door_and_back(
    new_page: NewPage, answering: Installation
) -> None:
    page = new_page(storage_state=None)
    page.goto("/jobs/job_x")
    expect(page.get_by_role("alert"), "there was no session").to_have_count(0)
    page.locator("#key").fill(answering.key)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/jobs/job_x$"))
