"""The page of operations in a real browser: what it shows, and every button."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from jobs.drain import Drain, Drains
from jobs.errors import IntakePaused
from jobs.failures import Failures
from jobs.job import Reason
from tests.browser.busy import FAILURES, Busy
from tests.browser.operations.overview import WORKER, Open, in_time, notice, tile
from tests.eventually import eventually
from tests.ledgers import MODEL, draft, submitted


@pytest.fixture(params=[True, False], ids=["scripts", "no scripts"])
def page(request: pytest.FixtureRequest, opened: Open) -> Page:
    """The overview, with JavaScript and without."""
    return opened(java_script_enabled=request.param)


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


def test_names_from_elsewhere_are_inert(day: Busy, opened: Open) -> None:
    name = "<img src=x onerror=alert(1)>\"'"
    day.ledger.renew(name, MODEL, {"host": name, "slots": 1}, {})
    page = opened()
    # A reading is kept for a second.
    eventually(lambda: in_time(page).get_by_text(name, exact=True).count(), "it is told")
    expect(page.get_by_text(name, exact=True)).to_be_visible()
    assert page.locator("main img").count() == 0
    day.ledger.leave(name, MODEL)


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
