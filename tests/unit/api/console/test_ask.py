"""Asking by a form, without any script: the same door, ledger and refusals as the API's."""

import re
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from api.console.i18n import language
from jobs.errors import StoreUnavailable
from jobs.job import Outcome, Reason, Status
from jobs.keys import Scope
from jobs.ledger import Ledger
from jobs.sessions import Sessions
from tests.unit.api.conftest import PNG, QUESTION, Caller
from tests.unit.api.console.conftest import Browser

XSS = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
PART = {"HX-Request": "true"}
en = language("en")


def ask(browser: Browser, headers: dict[str, str] | None = None, **form: Any) -> TestResponse:
    """Send the form of the Ask page."""
    fields = {"question": QUESTION, "image": ("panel.png", PNG), **form}
    return browser.post("/ask", headers, **{k: v for k, v in fields.items() if v is not None})


def asked(browser: Browser, **form: Any) -> str:
    """Ask, and return the id of the job whose page comes."""
    response = ask(browser, **form)
    assert response.status_code == 303, response.text
    found = re.fullmatch(r"/jobs/(job_[0-9a-f]{32})", response.headers["Location"])
    assert found
    return found[1]


def answer(books: Ledger, text: str = "The code is E42.") -> None:
    """Answer the next job."""
    claim = books.claim("demo", "w1")
    assert claim
    timing = {"queue_ms": 5, "preprocess_ms": 1, "vision_ms": 2, "generate_ms": 12}
    usage = {"prompt_tokens": 9, "cached_tokens": 0, "completion_tokens": 3}
    outcome = Outcome(Status.SUCCEEDED, answer={"text": text}, timing=timing, usage=usage)
    assert books.finish(claim, outcome)


def silent_for(books: Ledger, client: Any, milliseconds: int, worker: str = "w1") -> None:
    """Have a worker be as one that has renewed for the last time so long ago."""
    books.renew(worker, "demo", {"slots": 4}, {})
    client.zincrby("lj:workers:demo", -milliseconds, worker)


def test_a_form_makes_the_job_that_the_api_would_make(browser: Browser, api: Caller) -> None:
    job = api.job(asked(browser))
    assert job["status"] == "queued"
    assert job["question"] == QUESTION


def test_its_page_says_where_it_stands_and_looks_again_by_itself(
    browser: Browser, books: Ledger
) -> None:
    job_id = asked(browser)
    page = browser.get(f"/jobs/{job_id}").text
    assert en("story.unserved.title") in page
    assert '<noscript><meta http-equiv="refresh"' in page
    answer(books)
    page = browser.get(f"/jobs/{job_id}").text
    assert "The code is E42." in page
    assert "http-equiv" not in page
    assert en("time.generating") in page
    assert "12 ms" in page


def test_the_place_in_the_queue_and_the_estimate_are_told(
    browser: Browser, books: Ledger, client: Any
) -> None:
    asked(browser)
    answer(books)
    books.renew("w1", "demo", {"slots": 1, "running": 1}, {})
    job_id = asked(browser, question="And now?")
    page = browser.get(f"/jobs/{job_id}").text
    assert "About place 1 among jobs of normal priority. It starts at once" in page
    client.rpush("lj:pace:demo", 9_000, 9_000, 9_000)
    later = asked(browser, question="And then?")
    page = browser.get(f"/jobs/{later}").text
    assert re.search(r"About place 2 among .* It starts in about 1\d s", page)


def test_a_place_is_told_as_one_among_jobs_of_the_same_priority(
    browser: Browser, books: Ledger, api: Caller
) -> None:
    books.renew("w1", "demo", {"slots": 1}, {})
    for number in range(3):
        api.submit(question=f"Is it urgent? {number}", priority="high")
    job_id = asked(browser)
    assert "About place 1 among jobs of normal priority." in browser.get(f"/jobs/{job_id}").text
    chinese = browser.get(f"/jobs/{job_id}", **{"Accept-Language": "zh-CN"}).text
    assert "在普通优先级任务中约第 1 位" in chinese


def test_nothing_is_promised_while_every_worker_is_drained(
    browser: Browser, books: Ledger, app: Flask
) -> None:
    asked(browser)
    answer(books)
    for worker in ("w1", "w2"):
        books.renew(worker, "demo", {"slots": 1}, {})
    job_id = asked(browser, question="And now?")
    drains = app.extensions["services"].operations.drains
    drains.drain("w1")
    assert en("story.queued_next.title") in browser.get(f"/jobs/{job_id}").text
    drains.drain("w2")
    page = browser.get(f"/jobs/{job_id}").text
    assert en("story.unready.next", model="demo") in page
    assert "ms" not in re.findall(r'<header class="lead".*?</header>', page, re.DOTALL)[0]


def test_nothing_is_promised_when_the_only_worker_has_missed_two_heartbeats(
    browser: Browser, books: Ledger, client: Any
) -> None:
    job_id = asked(browser)
    silent_for(books, client, 11_000)
    assert en("story.unready.next", model="demo") in browser.get(f"/jobs/{job_id}").text


def test_a_question_that_is_being_answered_already_says_so(browser: Browser, books: Ledger) -> None:
    first, second = asked(browser), asked(browser)
    page = browser.get(f"/jobs/{second}").text
    assert en("story.shared.title") in page
    assert f'href="/jobs/{first}"' in page
    answer(books)
    assert "The code is E42." in browser.get(f"/jobs/{second}").text


def test_a_running_job_is_told_to_stop(browser: Browser, books: Ledger) -> None:
    job_id = asked(browser)
    assert books.claim("demo", "w1")
    assert en("story.processing.title") in browser.get(f"/jobs/{job_id}").text
    part = browser.post(f"/jobs/{job_id}/cancel", PART).text
    assert part.strip().startswith('<div class="answer processing"')
    assert en("story.stopping.title") in browser.get(f"/jobs/{job_id}").text


def test_htmx_gets_the_turn_and_nothing_around_it(browser: Browser) -> None:
    response = ask(browser, PART)
    assert response.status_code == 200
    assert response.text.strip().startswith("<article")
    assert "data-live" in response.text


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"image": None}, "image_missing"),
        ({"image": ("", b"")}, "image_missing"),
        ({"question": ""}, "question_missing"),
        ({"image": ("x.png", b"not a picture")}, "image_unsupported"),
    ],
)
def test_what_cannot_be_taken_is_said_where_it_was_written(
    browser: Browser, form: dict[str, Any], code: str
) -> None:
    response = ask(browser, **form)
    assert response.status_code in (415, 422)
    assert en(f"refused.{code}") in response.text
    if form.get("question") != "":
        assert QUESTION in response.text
    part = ask(browser, PART, **{**form, "image": None})
    assert part.headers["HX-Retarget"] == "#refusal"


def test_asking_on_takes_the_conversation_along(
    browser: Browser, books: Ledger, api: Caller
) -> None:
    first = asked(browser)
    answer(books, "A red light.")
    second = asked(browser, image=None, question="Is it bright?", previous_job_id=first)
    assert api.job(second)["previous_job_id"] == first
    page = browser.get(f"/jobs/{second}").text
    assert page.index(QUESTION) < page.index("A red light.") < page.index("Is it bright?")


def test_recent_questions_are_those_of_the_key_from_wherever_it_asked(
    browser: Browser, foreign: Browser, signed_in_with: Any, api: Caller
) -> None:
    colleague = signed_in_with(Scope.READ, Scope.SUBMIT)
    assert en("recent.empty") in browser.get("/").text
    asked(browser, question="Where is the canary?")
    api.submit(question="Where is the parrot?")
    shown = browser.get("/").text
    assert shown.index("Where is the parrot?") < shown.index("Where is the canary?")
    for other in (colleague, foreign):
        assert en("recent.empty") in other.get("/").text


def test_a_question_is_another_keys_to_open_and_not_among_its_own(
    browser: Browser, signed_in_with: Any
) -> None:
    job_id = asked(browser)
    colleague = signed_in_with(Scope.READ)
    assert job_id not in colleague.get("/").text
    assert QUESTION in colleague.get(f"/jobs/{job_id}").text


def test_nothing_of_a_job_is_there_for_another_tenant(browser: Browser, foreign: Browser) -> None:
    job_id = asked(browser)
    for path in ("", "/answer", "/events", "/pictures/0"):
        own = browser.get(f"/jobs/{job_id}{path}")
        assert own.status_code == 200, path
        own.close()
        response = foreign.get(f"/jobs/{job_id}{path}")
        assert response.status_code == 404
        assert QUESTION not in response.text
    for action in ("cancel", "again", "resend", "erase"):
        assert foreign.post(f"/jobs/{job_id}/{action}").status_code == 404, action
    assert browser.get(f"/jobs/{job_id}").status_code == 200


def test_pictures_come_as_they_are_stored_and_run_nothing(browser: Browser) -> None:
    job_id = asked(browser)
    response = browser.get(f"/jobs/{job_id}/pictures/0")
    assert response.mimetype == "image/webp"
    assert response.data.startswith(b"RIFF")
    assert "sandbox" in response.headers["Content-Security-Policy"]
    assert browser.get(f"/jobs/{job_id}/pictures/1").status_code == 404
    assert browser.get(f"/jobs/{job_id}/pictures/-1").status_code == 404


def test_a_job_is_stopped_then_asked_again_then_erased(browser: Browser, api: Caller) -> None:
    job_id = asked(browser)
    assert browser.post(f"/jobs/{job_id}/cancel").headers["Location"] == f"/jobs/{job_id}"
    assert en("story.canceled.title") in browser.get(f"/jobs/{job_id}").text
    again = browser.post(f"/jobs/{job_id}/again").headers["Location"]
    assert api.job(again.removeprefix("/jobs/"))["question"] == QUESTION
    assert browser.post(f"/jobs/{job_id}/erase").headers["Location"] == "/?erased=1"
    assert browser.get(f"/jobs/{job_id}").status_code == 404
    assert en("ask.erased") in browser.get("/?erased=1").text


def test_what_cannot_be_done_is_a_page_that_says_why(browser: Browser, books: Ledger) -> None:
    job_id = asked(browser)
    answer(books)
    for action in ("again", "resend"):
        response = browser.post(f"/jobs/{job_id}/{action}")
        assert response.status_code == 409
        assert en("refusal.4xx.title") in response.text


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (Reason.ERROR, "failed"),
        (Reason.REFUSED, "failed_refused"),
        (Reason.POISON, "failed_poison"),
        (Reason.DEADLINE, "failed_deadline"),
        (Reason.EXPIRED, "failed_expired"),
    ],
)
def test_every_failure_says_what_to_do_next(
    browser: Browser, books: Ledger, reason: Reason, kind: str
) -> None:
    job_id = asked(browser)
    claim = books.claim("demo", "w1")
    assert claim
    error = {"code": "prompt_too_long", "message": "ask for less"}
    books.finish(claim, Outcome(Status.FAILED, reason, error=error))
    page = browser.get(f"/jobs/{job_id}").text
    assert en(f"story.{kind}.next") in page
    assert "ask for less" in page
    assert en("do.again") in page


def test_what_was_asked_answered_and_sent_along_stays_text(
    browser: Browser, books: Ledger, api: Caller
) -> None:
    job_id = api.submit(question=XSS, metadata={XSS: XSS}, group=XSS)
    answer(books, XSS)
    for path in (f"/jobs/{job_id}", f"/jobs/{job_id}/answer", "/"):
        page = browser.get(path).text
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "&lt;script&gt;alert(1)" in page


def test_a_key_sees_and_does_what_its_scopes_say(signed_in_with: Any, browser: Browser) -> None:
    job_id = asked(browser)
    reader, sender = signed_in_with(Scope.READ), signed_in_with(Scope.SUBMIT)
    assert en("job.cancel") in browser.get(f"/jobs/{job_id}").text
    seen = reader.get(f"/jobs/{job_id}")
    assert seen.status_code == 200
    assert not {en("job.cancel"), en("do.erase")} & set(re.findall(r">([^<]+)<", seen.text))
    assert en("ask.may_not") in reader.get("/").text
    assert reader.post(f"/jobs/{job_id}/cancel").status_code == 403
    assert ask(reader).status_code == 403
    assert sender.get(f"/jobs/{job_id}").status_code == 403
    assert '<ul class="recent">' not in sender.get("/").text
    assert ask(sender).status_code == 303


def test_an_unforeseen_error_is_not_told_as_an_overload(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(Ledger, "get", broken)
    response = browser.get("/jobs/job_x")
    assert response.status_code == 500
    assert en("refusal.500.cause") in response.text
    assert en("refusal.503.cause") not in response.text


def test_who_asks_while_intake_is_paused_is_told_so_in_their_language(
    browser: Browser, app: Flask, client: Any
) -> None:
    app.extensions["services"].operations.intake.pause(None)
    response = ask(browser, {**PART, "Accept-Language": "zh-CN"})
    assert response.status_code == 503
    assert language("zh")("refused.paused") in response.text


def test_a_store_that_is_away_is_a_page_with_the_next_step(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailable("the store cannot be reached; try again", retry_after=5)

    monkeypatch.setattr(Sessions, "find", away)
    response = browser.get("/")
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "5"
    assert en("refusal.503.next") in response.text
