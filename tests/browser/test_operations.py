"""The pages of operations in a real browser: what they show, every button, and for everybody."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from jobs.drain import Drain, Drains
from jobs.errors import IntakePaused, Unauthorized
from jobs.failures import Failures
from jobs.job import Reason
from jobs.keys import Keys, Scope
from jobs.tenants import TenantLimits, Tenants
from tests.browser.axe import flawless
from tests.browser.browsers import PHONE, quiet_pages, signed_in, visit
from tests.browser.busy import FAILURES, Busy, busy
from tests.eventually import eventually
from tests.ledgers import MODEL, draft, submitted

WORKER = "gpu-1-4711-a1b2c3"
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "zh": {"locale": "zh-CN"},
    "phone": {"viewport": PHONE, "is_mobile": True, "has_touch": True},
}
Open = Callable[..., Page]


@pytest.fixture(scope="module")
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


@pytest.fixture(params=[True, False], ids=["scripts", "no scripts"])
def page(request: pytest.FixtureRequest, opened: Open) -> Page:
    """The overview, with JavaScript and without."""
    return opened(java_script_enabled=request.param)


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


def failed(day: Busy, count: int = 1) -> list[str]:
    """Jobs that have just failed in the worker; nothing else waits."""
    for job_id in list(Failures(day.client).oldest(Reason.ERROR, 1000)):
        day.ledger.erase(job_id.tenant, job_id.id)
    made = []
    for _ in range(count):
        job, _ = day.ledger.submit(draft("acme", model="failing"))
        claim = day.ledger.claim("failing", "w9")
        assert claim is not None
        day.ledger.finish(claim, FAILURES[0])
        made.append(job.id)
    return made


# What is shown


def test_the_figures_are_those_of_the_store(day: Busy, page: Page) -> None:
    assert tile(page, "queued") == "130"
    assert tile(page, "slots") == "50 / 64"
    assert page.locator("#worker-" + WORKER).inner_text().count("25 / 32") == 1
    assert int(tile(page, "failed")) == sum(Failures(day.client).counts().values())
    expect(page.locator("#intake-state")).to_have_text("accepting jobs")
    expect(page.get_by_text("hooks.acme.example")).to_be_visible()
    expect(page.get_by_text("Every accepted job is on disk first")).to_be_visible()


def test_a_chart_says_in_words_and_in_a_table_what_it_draws(page: Page) -> None:
    for kind in ("jobs", "waiting", "whole"):
        chart = page.get_by_role("img", name=page.locator(f"#chart-{kind} strong").inner_text())
        expect(chart).to_be_visible()
        assert page.locator(f"#chart-{kind}-summary").text_content()
        assert chart.locator("g").count() == 60
        assert chart.locator("g rect:not(.hit)").count() > 60
    page.get_by_text("As a table").click()
    rows = page.locator("#hour-table tbody tr")
    expect(rows.first).to_be_visible()
    drawn = page.locator("#chart-jobs rect.succeeded").count()
    answered = [int(cell) for cell in rows.locator("td:nth-child(3)").all_inner_texts()]
    assert sum(count > 0 for count in answered) == drawn


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


@pytest.mark.parametrize("path", ["/console", "/console/keys"])
def test_a_menu_closes_with_escape_or_a_press_beside_it_or_for_another(
    opened: Open, path: str
) -> None:
    page = opened(path)
    first, second = (page.locator("details.menu").nth(number) for number in (0, 1))
    first.locator("summary").click()
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(first).not_to_have_attribute("open", "")
    expect(first.locator("summary")).to_be_focused()
    first.locator("summary").click()
    expect(first).to_have_attribute("open", "")
    first.locator("form").click(position={"x": 1, "y": 1})
    expect(first).to_have_attribute("open", "")
    second.locator("summary").click()
    expect(second).to_have_attribute("open", "")
    expect(first).not_to_have_attribute("open", "")
    page.locator("h1").click()
    expect(second).not_to_have_attribute("open", "")


def test_names_from_elsewhere_are_inert(day: Busy, opened: Open) -> None:
    name = "<img src=x onerror=alert(1)>\"'"
    day.ledger.renew(name, MODEL, {"host": name, "slots": 1}, {})
    page = opened()
    # A reading is kept for a second.
    eventually(lambda: in_time(page).get_by_text(name, exact=True).count(), "it is told")
    expect(page.get_by_text(name, exact=True)).to_be_visible()
    assert page.locator("main img").count() == 0
    day.ledger.leave(name, MODEL)


# Controls


def test_intake_is_paused_for_everybody_and_resumed(day: Busy, page: Page) -> None:
    page.get_by_text("Pause for everybody").click()
    page.get_by_role("button", name="Pause now").click()
    expect(notice(page)).to_have_text("Intake is paused.")
    expect(page.locator("#is-paused")).to_be_visible()
    expect(page.locator("#intake-state")).to_have_text("intake paused")
    with pytest.raises(IntakePaused):
        submitted(day.ledger)
    page.get_by_role("button", name="Resume for everybody").click()
    expect(notice(page)).to_have_text("Jobs are accepted again.")
    day.ledger.cancel("acme", submitted(day.ledger))


def test_one_tenant_is_paused_and_resumed(day: Busy, page: Page) -> None:
    page.locator("#tenant").fill("globex")
    page.get_by_role("button", name="Pause", exact=True).click()
    with pytest.raises(IntakePaused):
        submitted(day.ledger, "globex")
    day.ledger.cancel("acme", submitted(day.ledger))
    page.get_by_role("button", name="Resume for globex").click()
    expect(page.locator(".paused")).to_have_count(0)
    day.ledger.cancel("globex", submitted(day.ledger, "globex"))


@pytest.mark.parametrize("how", Drain)
def test_a_worker_is_drained_and_resumed(day: Busy, page: Page, how: Drain) -> None:
    row = page.locator(f"#worker-{WORKER}")
    row.locator("summary").click()
    row.locator(f"[value={how}]").click()
    expect(row.locator(".badge")).to_have_text("draining")
    assert Drains(day.client, day.ledger.scripts).of([WORKER]) == {WORKER: how}
    assert day.ledger.claim(MODEL, WORKER) is None
    row.get_by_role("button", name=f"Resume {WORKER}").click()
    expect(row.locator(".badge")).to_have_text("ready")
    assert Drains(day.client, day.ledger.scripts).of([WORKER]) == {}


def test_a_failed_job_is_asked_again_by_itself(day: Busy, page: Page) -> None:
    [old] = failed(day)
    page.reload()
    page.locator("#newest-error summary").click()
    page.get_by_role("button", name=f"Ask {old} again").click()
    expect(notice(page)).to_have_text("Asked again, as a new job.")
    new = claimed_of(day)
    assert new.metadata["retry_of"] == old


def test_all_that_failed_for_a_reason_is_asked_again_as_many_as_one_call_takes_at_a_time(
    day: Busy, page: Page
) -> None:
    failed(day, 201)
    page.reload()
    page.get_by_role("button", name="Ask all again that failed: error").click()
    expect(notice(page)).to_contain_text("Asked again: 200.")
    page.get_by_role("button", name="Go on: 1 more").click()
    expect(notice(page)).to_contain_text("Asked again: 1.")
    expect(page.locator("#failed-error")).to_have_count(0)
    for _ in range(201):
        claimed_of(day)
    assert day.ledger.claim("failing", "w9") is None


def claimed_of(day: Busy) -> Any:
    """The next job that asks again, ended."""
    claim = day.ledger.claim("failing", "w9")
    assert claim is not None
    day.ledger.cancel("acme", claim.job.id)
    day.ledger.hand_back(claim)
    return claim.job


# Keys and tenants


@pytest.fixture(params=[True, False], ids=["scripts", "no scripts"])
def keys_page(request: pytest.FixtureRequest, opened: Open) -> Page:
    """The page of keys, with JavaScript and without."""
    return opened("/console/keys", java_script_enabled=request.param)


def test_a_key_is_made_shown_once_rotated_and_revoked(day: Busy, keys_page: Page) -> None:
    page, keys = keys_page, Keys(day.client)
    page.locator("#tenant").fill("hooli")
    page.get_by_label("submit").uncheck()
    page.locator("#life").select_option("90")
    page.get_by_role("button", name="Make key").click()
    secret = page.locator("#made").inner_text()
    expect(page.locator("nav [aria-current]")).to_have_text(["Operations", "Keys and tenants"])
    made = keys.identify(secret)
    assert made.tenant == "hooli"
    assert made.scopes == {Scope.READ}
    assert made.expires == made.created + 90 * 86_400
    page.goto("/console/keys?tenant=hooli")
    assert secret not in page.content()
    expect(page.locator("tbody th code")).to_have_text([made.id])

    page.get_by_label(f"Rotate {made.id}").click()
    page.get_by_label("The secret before works for").select_option("0")
    page.get_by_role("button", name="New secret").click()
    rotated = page.locator("#made").inner_text()
    assert keys.identify(rotated).id == made.id
    with pytest.raises(Unauthorized):
        keys.identify(secret)

    page.goto("/console/keys?tenant=hooli")
    page.get_by_label(f"Revoke {made.id}").click()
    page.get_by_role("button", name="Revoke for good").click()
    expect(notice(page)).to_have_text("The key is revoked.")
    with pytest.raises(Unauthorized):
        keys.identify(rotated)


def test_a_key_that_may_do_nothing_is_not_made(day: Busy, keys_page: Page) -> None:
    before = len(Keys(day.client).list())
    keys_page.locator("#tenant").fill("hooli")
    for scope in ("submit", "read"):
        keys_page.get_by_label(scope).uncheck()
    with keys_page.expect_navigation():
        keys_page.get_by_role("button", name="Make key").click()
    assert len(Keys(day.client).list()) == before


def test_a_tenants_limits_are_set(day: Busy, keys_page: Page) -> None:
    keys_page.get_by_label("Limits of umbrella").click()
    keys_page.locator("#queued_jobs-umbrella").fill("7")
    keys_page.locator("tr", has=keys_page.locator("#queued_jobs-umbrella")).get_by_role(
        "button", name="Set"
    ).click()
    expect(notice(keys_page)).to_have_text("The limits are set, from the next request on.")
    assert Tenants(day.client).limits("umbrella") == TenantLimits(queued_jobs=7)
    Tenants(day.client).set_limits("umbrella", TenantLimits())


# For everybody


def test_it_works_by_keyboard_alone(day: Busy, opened: Open) -> None:
    page = opened()
    page.locator(f"#worker-{WORKER} summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(f"#worker-{WORKER} .badge")).to_have_text("draining")
    page.locator(f"#worker-{WORKER} button").focus()
    page.keyboard.press("Enter")
    expect(page.locator(f"#worker-{WORKER} .badge")).to_have_text("ready")


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("path", ["/console", "/console/keys"])
def test_axe_finds_nothing_with_everything_opened(
    day: Busy, opened: Open, look: str, path: str
) -> None:
    page = opened(path, **LOOKS[look])
    page.evaluate(
        """for (const one of document.querySelectorAll("details")) {
            one.removeAttribute("name");
            one.open = true;
        }"""
    )
    flawless(page)


def test_axe_finds_nothing_while_it_is_paused(day: Busy, opened: Open) -> None:
    page = opened()
    page.get_by_text("Pause for everybody").click()
    page.get_by_role("button", name="Pause now").click()
    try:
        flawless(page)
    finally:
        page.get_by_role("button", name="Resume for everybody").click()
