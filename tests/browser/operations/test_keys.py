"""The page of keys and tenants in a real browser."""

import pytest
from playwright.sync_api import Page, expect

from jobs.errors import Unauthorized
from jobs.keys import Keys, Scope
from jobs.tenants import TenantLimits, Tenants
from tests.browser.busy import Busy
from tests.browser.operations.overview import Open, notice


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
