"""A job in a real browser: what is said of it while it waits, every button, and its end."""

import re
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.axe import flawless
from tests.browser.browsers import DESK, PHONE, NewPage, sign_in
from tests.browser.questions import RED, ask, open_job
from tests.eventually import eventually
from tests.installations import Installation, caller, ended, submit


def test_a_stream_that_is_refused_is_not_given_up(page: Page, halted: Callable[[], None]) -> None:
    page.route("**/events", lambda route: route.fulfill(status=429), times=1)
    turn = ask(page, "What colour is the light, once more?")
    expect(turn.locator(".state")).to_contain_text(re.compile("place|A worker is at it"))
    halted()
    expect(turn.locator(".words")).to_have_text(RED)


def test_while_it_waits_its_place_is_told_and_it_can_be_stopped_and_asked_again(
    page: Page, halted: Callable[[], None]
) -> None:
    turn = ask(page, "What colour is the light, slowly?")
    expect(turn.locator(".state")).to_contain_text(re.compile("place 1|A worker is at it"))
    turn.get_by_role("button", name="Cancel").click()
    expect(turn.locator(".state")).to_contain_text(re.compile("Canceled|Being stopped"))
    halted()
    expect(turn.locator(".state")).to_contain_text("Canceled")
    turn.get_by_role("link", name="Details").click()
    first = page.url
    page.get_by_role("button", name="Ask again").click()
    expect(page.locator(".answer .words")).to_have_text(RED)
    assert page.url != first


def test_a_job_that_is_canceled_is_shown_so_everywhere_on_its_page(
    page: Page, answering: Installation, halted: Callable[[], None]
) -> None:
    with caller(answering.url, answering.key) as http:
        job_id = open_job(http)
    page.goto(f"/jobs/{job_id}")
    page.evaluate("window.same = true")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#lead h1")).to_have_text("Canceled")
    expect(page.locator(".line-of-time")).to_contain_text("Canceled")
    expect(page.get_by_role("button", name="Ask again")).to_be_visible()
    expect(page.locator(".answer")).to_have_text("There is no answer.")
    expect(page.locator("#news")).to_contain_text("Canceled")
    assert page.evaluate("window.same"), "it was not loaded anew"


def test_a_question_that_is_canceled_is_so_among_the_recent_ones(
    page: Page, halted: Callable[[], None]
) -> None:
    turn = ask(page, "What colour is the light, if anybody asks?")
    turn.get_by_role("button", name="Cancel").click()
    expect(page.locator(".recent li").first).to_contain_text("Canceled")


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_what_is_said_of_a_waiting_job_stays_in_its_card(
    new_page: NewPage, halted: Callable[[], None], viewport: Any
) -> None:
    page = new_page(viewport=viewport)
    turn = ask(page, f"What colour is the light, in a queue {viewport['width']} wide?")
    said = turn.locator(".next")
    expect(said).to_contain_text("among jobs of normal priority")
    # What is said is renewed each second, and has no place while it is exchanged.
    inside = eventually(said.bounding_box, "what is said has a place")
    card = eventually(turn.bounding_box, "the card has a place")
    assert inside["x"] + inside["width"] <= card["x"] + card["width"]
    flawless(page)
    sign = "box => getComputedStyle(box, '::before').content"
    assert turn.locator(".answer").evaluate(sign) == "none", "no room for a sign that is not there"


def test_what_is_opened_stays_open_when_the_job_ends(
    page: Page, answering: Installation, halted: Callable[[], None]
) -> None:
    with caller(answering.url, answering.key) as http:
        job_id = open_job(http)
    page.goto(f"/jobs/{job_id}")
    page.get_by_role("button", name="Erase …").click()
    halted()
    expect(page.locator("#about")).to_contain_text("Writing the answer")
    expect(page.get_by_role("button", name="Erase for good")).to_be_visible()
    for time in page.locator("#about time").all_inner_texts():
        assert "UTC" not in time


def test_a_job_page_follows_its_job_to_the_end(
    page: Page, answering: Installation, halted: Callable[[], None]
) -> None:
    with caller(answering.url, answering.key) as http:
        job_id = open_job(http)
    page.goto(f"/jobs/{job_id}")
    page.evaluate("window.same = true")
    expect(page.locator("#lead")).to_contain_text(re.compile("Waiting|Being answered"))
    halted()
    expect(page.locator(".answer .words")).to_have_text(RED)
    expect(page.locator("#lead h1")).to_have_text("Answered")
    expect(page.locator("#about")).to_contain_text("Writing the answer")
    assert page.evaluate("window.same"), "it was not loaded anew"


def test_every_button_of_a_job(new_page: NewPage, answering: Installation) -> None:
    page = new_page(permissions=["clipboard-read", "clipboard-write"])
    with caller(answering.url, answering.key) as http:
        http.post("/v1/webhooks/secret")
        hook = '{"url": "https://receiver.invalid/told"}'
        job_id = open_job(http, webhook=hook, metadata='{"ticket": 7}', group="desk")
        assert ended(http, job_id)["status"] == "succeeded"
    page.goto(f"/jobs/{job_id}")
    picture = page.get_by_role("img", name="Picture 1")
    blurred = "image => getComputedStyle(image).filter.includes('blur')"
    assert picture.evaluate(blurred)
    page.get_by_text("Show the picture").click()
    assert not picture.evaluate(blurred)
    for button, text in (
        ("Copy answer", RED),
        ("Copy question", "What colour is the light?"),
        ("Copy the job's id", job_id),
    ):
        page.get_by_role("button", name=button).click()
        expect(page.locator("#news")).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == text
    expect(page.locator(".facts")).to_contain_text("desk")
    expect(page.locator("#about")).to_contain_text('"ticket": 7')
    page.get_by_role("button", name="Send the webhook again").click()
    expect(page.locator(".line-of-time")).to_contain_text("receiver.invalid")
    page.get_by_role("button", name="Erase …").click()
    page.get_by_role("button", name="Erase for good").click()
    expect(page.get_by_role("status").filter(has_text="Erased")).to_be_visible()
    page.goto(f"/jobs/{job_id}")
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing is here")


def test_the_button_on_a_narrow_picture_does_not_cover_it(
    page: Page, answering: Installation
) -> None:
    with caller(answering.url, answering.key) as http:
        strip = BytesIO()
        Image.new("RGB", (40, 600), "teal").save(strip, "PNG")
        job = submit(http, strip.getvalue())
    page.goto(f"/jobs/{job['id']}")
    button, veil = (page.locator(f".veil{part}").bounding_box() for part in (" .veil-show", ""))
    assert button is not None
    assert veil is not None
    assert button["height"] < 48, "one line"
    assert button["width"] <= veil["width"]


def test_another_tenants_job_is_not_there(
    new_page: NewPage, answering: Installation, strangers_key: str
) -> None:
    with caller(answering.url, answering.key) as http:
        job_id = open_job(http)
    page = new_page(storage_state=None)
    sign_in(page, strangers_key)
    assert page.goto(f"/jobs/{job_id}").status == 404  # type: ignore[union-attr]
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing is here")
    expect(page.locator("body")).not_to_contain_text("light")
