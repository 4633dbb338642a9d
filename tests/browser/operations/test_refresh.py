"""The page of operations keeps itself up to date, and says when it cannot."""

import re
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.browsers import signed_in, visit
from tests.browser.busy import Busy
from tests.browser.operations.overview import WORKER, Open, in_time, tile
from tests.eventually import eventually
from tests.ledgers import submitted


def test_the_page_keeps_itself_up_to_date_and_what_was_opened_stays_open(
    day: Busy, opened: Open
) -> None:
    page = opened()
    page.get_by_text("As a table").click()
    page.locator(f"#worker-{WORKER} summary").click()
    page.locator("#tenant").fill("glob")
    before = int(tile(page, "queued"))
    job_id = submitted(day.ledger, "globex")
    # A reading is kept for a second.
    eventually(lambda: tile(in_time(page), "queued") == str(before + 1), "it is told")
    expect(page.locator("#hour-table table")).to_be_visible()
    expect(page.locator(f"#worker-{WORKER} [value=finish]")).to_be_visible()
    expect(page.locator("#tenant")).to_have_value("glob")
    day.ledger.cancel("globex", job_id)


def test_it_asks_every_five_seconds_unless_it_is_held_or_cannot_be_seen(opened: Open) -> None:
    page = opened("/sign-in")
    page.clock.install()
    page.goto("/console")
    for _ in range(2):
        with page.expect_request("**/console"):
            page.clock.run_for(5_000)
    page.wait_for_load_state("networkidle")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    hold = page.get_by_role("button", name="Hold still")
    hold.click()
    expect(hold).to_have_attribute("aria-pressed", "true")
    page.clock.run_for(30_000)
    assert asked == []
    with page.expect_response("**/console"):
        hold.click()
    page.evaluate("Object.defineProperty(document, 'hidden', { get: () => true })")
    asked.clear()
    page.clock.run_for(30_000)
    assert asked == []


def test_times_are_local_from_the_first_look_on(opened: Open) -> None:
    page = opened(timezone_id="Asia/Tokyo")
    page.get_by_text("As a table").click()
    for _ in range(3):
        expect(page.locator("#as-of")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
        at = page.locator("#hour-table tbody time").first
        utc = datetime.fromisoformat(at.get_attribute("datetime") or "")
        expect(at).to_have_text(f"{utc + timedelta(hours=9):%H:%M}")
        before = page.locator("#as-of").get_attribute("datetime") or ""
        eventually(partial(later, page, before), "a second look")


def later(page: Page, before: str) -> bool:
    """Whether the page, brought up to date, is as it was at another time."""
    return in_time(page).locator("#as-of").get_attribute("datetime") != before


def instead(status: int | None, route: Route) -> None:
    """Answer with a status in the server's place, or not at all."""
    if status:
        route.fulfill(status=status)
    else:
        route.abort("connectionrefused")


def test_figures_that_could_not_be_brought_up_to_date_say_so(
    browser: Browser, day: Busy, session: Any
) -> None:
    with visit(browser, day.url, storage_state=session) as context:
        page = context.new_page()
        page.goto("/console")
        seen = page.locator("#as-of").inner_text()
        behind = page.get_by_text("Updates have stopped; trying again.")
        for status in (None, 503):
            page.route("**/console", partial(instead, status))
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            expect(behind).to_contain_text(seen)
            expect(page.locator("#live")).to_have_css("filter", "grayscale(1)")
            page.unroute("**/console")
            in_time(page)
            expect(behind).to_be_hidden()
            seen = page.locator("#as-of").inner_text()


def test_when_the_session_is_over_it_is_said_once_and_the_page_stays(
    browser: Browser, day: Busy, opened: Open
) -> None:
    page = opened(storage_state=signed_in(browser, day.url, day.operator))
    page.locator("#tenant").fill("glob")
    other = page.context.new_page()
    other.goto("/console")
    other.get_by_role("button", name="Sign out").click()
    expect(other).to_have_url(re.compile("/sign-in"))
    in_time(page)
    notice = page.get_by_role("alert")
    expect(notice).to_contain_text("Your session is over")
    notice.evaluate("notice => (notice.dataset.same = '')")
    in_time(page)
    expect(notice).to_have_attribute("data-same", "")
    expect(page.locator("#tenant")).to_have_value("glob")
