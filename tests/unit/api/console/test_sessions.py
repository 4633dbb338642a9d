"""Signing in: a session for a key, apart from it, and over when it is."""

import re
from typing import Any

import pytest
from flask import Flask

from api.console.i18n import language
from jobs.keys import Keys, Scope
from jobs.sessions import Sessions
from tests.unit.api.conftest import Caller
from tests.unit.api.console.conftest import HTML, Browser

en = language("en")


def cookie(response: Any) -> str:
    """The session's cookie as it is set."""
    [found] = [c for c in response.headers.getlist("Set-Cookie") if "session" in c]
    return str(found)


def test_a_key_opens_a_session_in_a_cookie_that_no_script_and_no_other_site_gets(
    visitor: Browser, api: Caller
) -> None:
    response = visitor.sign_in(api.key)
    assert response.status_code == 303
    assert response.headers["Location"] == "/"
    assert re.search(r"; HttpOnly; Path=/; SameSite=Lax$", cookie(response))
    assert "Secure" not in cookie(response)
    assert api.key.split("_")[2] not in str(response.headers)


def test_over_tls_the_cookie_stays_on_tls_and_on_this_host(app: Flask, api: Caller) -> None:
    http = app.test_client()
    response = http.post(
        "/sign-in",
        base_url="https://localhost",
        data={"key": api.key},
        headers={"Origin": "https://localhost"},
    )
    assert cookie(response).startswith("__Host-")
    assert "; Secure;" in cookie(response)


def test_the_store_holds_neither_the_session_nor_the_key(browser: Browser, client: Any) -> None:
    found = browser.http.get_cookie("llava_jobs_session")
    assert found is not None
    dump = b"".join(client.dump(name) + name for name in client.scan_iter("*"))
    assert b"session:" in dump
    assert found.value.encode() not in dump


@pytest.mark.parametrize("key", ["", "nonsense", "lj_abcdefgh_" + "a" * 48])
def test_no_session_for_what_is_no_key(visitor: Browser, key: str) -> None:
    response = visitor.sign_in(key)
    assert response.status_code == 401
    assert 'role="alert"' in response.text
    assert visitor.get("/sign-in").status_code == 200


def test_pages_lead_whoever_is_not_signed_in_to_the_door_and_back(
    visitor: Browser, api: Caller
) -> None:
    response = visitor.get("/jobs/x?part=state")
    assert response.status_code == 303
    assert response.headers["Location"] == "/sign-in?next=/jobs/x?part%3Dstate"
    assert visitor.sign_in(api.key, next="/jobs/x").headers["Location"] == "/jobs/x"


@pytest.mark.parametrize(
    "next_page", ["https://evil.example/", "//evil.example", "/\\evil.example", "x", "/\t/evil"]
)
def test_nobody_is_led_to_another_site(visitor: Browser, api: Caller, next_page: str) -> None:
    assert visitor.sign_in(api.key, next=next_page).headers["Location"] == "/"


def test_what_a_script_asks_for_is_refused_rather_than_led_away(visitor: Browser) -> None:
    for headers in ({"Sec-Fetch-Mode": "cors"}, {"HX-Request": "true"}):
        response = visitor.get("/jobs/x", **headers)
        assert response.status_code == 401
        assert "HX-Redirect" not in response.headers, "which would lose what is typed"
    assert response.headers["HX-Retarget"] == "#refusal"
    assert en("refused.session_over") in response.text
    assert 'href="/sign-in" target="_blank"' in response.text


def test_who_sends_a_form_when_the_session_is_over_is_told_how_to_send_it_again(
    browser: Browser, api: Caller, client: Any
) -> None:
    Keys(client).revoke(api.key.split("_")[1])
    response = browser.post("/ask", question="What is the error code?")
    assert response.status_code == 401
    assert en("refusal.401.cause") in response.text
    assert en("refusal.401.next") in response.text
    assert 'href="/sign-in" target="_blank"' in response.text


def test_the_door_says_that_a_session_is_over(browser: Browser, api: Caller, client: Any) -> None:
    Keys(client).revoke(api.key.split("_")[1])
    assert en("sign_in.session_over") in browser.get("/sign-in").text
    assert browser.post("/sign-out").headers["Location"] == "/sign-in"
    assert en("sign_in.session_over") not in browser.get("/sign-in").text


def test_a_cookie_outlives_its_session_so_that_its_end_can_be_told(
    visitor: Browser, api: Caller, app: Flask
) -> None:
    life_s = app.extensions["services"].settings.session_s
    [age] = re.findall(r"Max-Age=(\d+)", cookie(visitor.sign_in(api.key)))
    assert int(age) > life_s


def test_signing_out_ends_the_session_also_for_whoever_copied_the_cookie(
    app: Flask, browser: Browser
) -> None:
    copied = browser.http.get_cookie("llava_jobs_session")
    assert copied is not None
    thief = app.test_client()
    thief.set_cookie(copied.key, copied.value)
    assert thief.get("/jobs/x", headers=HTML).status_code == 404
    assert browser.post("/sign-out").headers["Location"] == "/sign-in"
    assert browser.http.get_cookie("llava_jobs_session") is None
    assert thief.get("/jobs/x", headers=HTML).status_code == 303


def test_a_revoked_key_ends_its_sessions(browser: Browser, api: Caller, client: Any) -> None:
    Keys(client).revoke(api.key.split("_")[1])
    assert browser.get("/jobs/x").status_code == 303
    assert not list(client.scan_iter("*session*"))


def test_a_rotated_key_ends_those_of_the_secret_that_no_longer_works(
    browser: Browser, api: Caller, client: Any
) -> None:
    Keys(client).rotate(api.key.split("_")[1], overlap_s=60)
    assert browser.get("/jobs/x").status_code == 404
    Keys(client).rotate(api.key.split("_")[1], overlap_s=0)
    assert browser.get("/jobs/x").status_code == 303


def test_an_expired_key_ends_its_sessions(client: Any) -> None:
    now = [1000.0]
    keys = Keys(client, lambda: now[0])
    sessions = Sessions(client, keys, life_s=600)
    token = sessions.open(keys.create("acme", expires_in_s=60)).token
    assert sessions.find(token)
    now[0] += 60
    assert sessions.find(token) is None


def test_a_session_has_an_end_of_its_own(client: Any) -> None:
    keys = Keys(client)
    token = Sessions(client, keys, life_s=600).open(keys.create("acme")).token
    [name] = client.scan_iter("*session*")
    assert 590 <= client.ttl(name) <= 600
    client.delete(name)
    assert Sessions(client, keys, life_s=600).find(token) is None


def test_the_api_takes_no_session_and_pages_take_no_key(
    app: Flask, browser: Browser, api: Caller
) -> None:
    assert browser.get("/v1/jobs").status_code == 401
    assert app.test_client().get("/jobs/x", headers={**HTML, "Authorization": api.key})
    response = api("GET", "/jobs/x", headers=HTML)
    assert response.status_code == 303
    assert response.headers["Location"].startswith("/sign-in")


def test_tries_to_sign_in_are_limited(app: Flask, visitor: Browser, api: Caller) -> None:
    most = app.extensions["services"].settings.sign_ins_per_minute
    for _ in range(most):
        assert visitor.sign_in("nonsense").status_code == 401
    response = visitor.sign_in(api.key)
    assert response.status_code == 429
    assert int(response.headers["Retry-After"]) > 0
    assert response.mimetype == "text/html"


def test_whoever_may_only_administer_begins_at_operations(
    visitor: Browser, api: Caller, client: Any
) -> None:
    key = Keys(client).create("acme", scopes=[Scope.ADMIN])
    assert visitor.sign_in(key).headers["Location"] == "/console"
