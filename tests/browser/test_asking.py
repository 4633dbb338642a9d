"""Asking in a real browser: the picture in, the answer out, and on from there."""

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, Page, expect

from llava_jobs.demo import PICTURES
from tests.browser.browsers import PHONE, NewPage, sign_in
from tests.installations import Installation, caller, ended

RED = "The light is red."
CODE = "The code is E42."
XSS = "<script>window.hacked=1</script><img src=x onerror=window.hacked=1>'\"`${1}"


def ask(page: Page, question: str, picture: str = "landscape.jpg") -> Locator:
    """Ask from the form; the turn that comes."""
    page.goto("/")
    page.locator("#image").set_input_files(PICTURES / picture)
    page.locator("#question").fill(question)
    page.get_by_role("button", name="Ask", exact=True).click()
    return page.locator(".turn", has_text=question)


def hand_over(page: Page, event: str, name: str) -> None:
    """Drop or paste a bundled picture on the page."""
    page.evaluate(
        """async ([event, name, bytes]) => {
            const carried = new DataTransfer();
            carried.items.add(new File([new Uint8Array(bytes)], name, {type: "image/jpeg"}));
            const options = {clipboardData: carried, dataTransfer: carried, bubbles: true};
            const Kind = event === "paste" ? ClipboardEvent : DragEvent;
            document.body.dispatchEvent(new Kind(event, {...options, cancelable: true}));
        }""",
        [event, name, list((PICTURES / name).read_bytes())],
    )


def open_job(http: Any, **fields: Any) -> str:
    """Submit a job by the API; its id."""
    picture = (PICTURES / "landscape.jpg").read_bytes()
    data = {"question": "What colour is the light?", "cache": "false", **fields}
    response = http.post("/v1/jobs", data=data, files={"image": ("a.jpg", picture)})
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def test_a_question_is_answered_on_the_page_and_asked_on(page: Page) -> None:
    turn = ask(page, "What colour is the light?")
    expect(turn.locator(".words")).to_have_text(RED)
    expect(page.locator(".recent li").first).to_contain_text(RED)
    expect(page.locator("#news")).to_contain_text(RED)
    expect(page.locator("#question"), "the form is free again").to_have_value("")
    turn.get_by_label("Ask on about this picture").fill("What is the error code?")
    turn.get_by_role("button", name="Ask", exact=True).click()
    second = page.locator(".turn", has_text="What is the error code?")
    expect(second.locator(".words")).to_have_text(CODE)
    expect(turn.get_by_label("Ask on about this picture")).to_be_hidden()
    second.get_by_role("link", name="Details").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Answered")
    expect(page.locator(".talk")).to_contain_text(re.compile(f"{RED}.*{CODE}", re.DOTALL))


def test_an_answer_that_is_there_at_once_is_among_the_recent_ones_too(page: Page) -> None:
    for count in (1, 2):
        turn = ask(page, "What colour is the light, asked twice?")
        expect(turn.locator(".words")).to_have_text(RED)
        expect(page.locator(".recent li", has_text="asked twice")).to_have_count(count)


def test_up_says_where_to_ask(answering: Installation) -> None:
    answering.line(rf"^console: {re.escape(answering.url)}/ in a browser")


def test_a_stream_that_is_refused_is_not_given_up(page: Page, halted: Callable[[], None]) -> None:
    page.route("**/events", lambda route: route.fulfill(status=429), times=1)
    turn = ask(page, "What colour is the light, once more?")
    expect(turn.locator(".state")).to_contain_text(re.compile("place|A worker is at it"))
    halted()
    expect(turn.locator(".words")).to_have_text(RED)


def test_a_picture_is_dropped_or_pasted(page: Page) -> None:
    page.goto("/")
    for event, name in (("drop", "portrait.jpg"), ("paste", "tall.jpg")):
        hand_over(page, event, name)
        expect(page.locator("#chosen-name")).to_have_text(name)
        expect(page.locator("#preview")).to_have_js_property("complete", True)
        assert page.locator("#preview").evaluate("image => image.naturalWidth") > 0
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Another picture").click()
    chooser.value.set_files(PICTURES / "landscape.jpg")
    expect(page.locator("#chosen-name")).to_have_text("landscape.jpg")


def test_the_code_beside_it_asks_the_same(page: Page) -> None:
    page.goto("/")
    page.locator("#image").set_input_files(PICTURES / "wide.jpg")
    page.locator("#question").fill('What\'s "it"?\\')
    expect(page.locator("#code-curl")).to_contain_text("-F image=@'wide.jpg'")
    expect(page.locator("#code-curl")).to_contain_text("question='What'\\''s \"it\"?\\'")
    page.get_by_text("Python", exact=True).click()
    code = page.locator("#code-python").inner_text()
    compile(code, "sample", "exec")
    assert '"What\'s \\"it\\"?\\\\"' in code


def test_a_mistake_is_said_beside_the_form_and_nothing_typed_is_lost(page: Page) -> None:
    page.goto("/")
    page.locator("#image").set_input_files(
        {"name": "x.png", "mimeType": "image/png", "buffer": b"no picture"}
    )
    page.locator("#question").fill("Why?")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("not a picture that is taken here")
    expect(page.locator("#question")).to_have_value("Why?")


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


def test_without_scripts_everything_still_goes(new_page: NewPage, answering: Installation) -> None:
    page = new_page(java_script_enabled=False, storage_state=None)
    sign_in(page, answering.key)
    page.locator("#image").set_input_files(PICTURES / "landscape.jpg")
    page.locator("#question").fill("What is the error code?")
    page.locator("#ask").click()
    expect(page.locator(".answer .words"), "the page looks again").to_have_text(CODE)
    assert "/jobs/job_" in page.url
    page.get_by_text("Show the picture").click()
    expect(page.locator(".veil input")).to_be_checked()
    page.get_by_label("Ask on about this picture").fill("What colour is the light?")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator(".answer .words")).to_have_text(RED)
    page.get_by_role("button", name="中文").click()
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    page.get_by_text("删除…").click()
    page.get_by_role("button", name="永久删除").click()
    expect(page.locator("main")).to_contain_text("已删除")
    page.get_by_role("button", name="深色外观").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.get_by_role("button", name="退出").click()
    expect(page).to_have_url(re.compile("/sign-in"))


def test_with_the_keyboard_alone(new_page: NewPage, answering: Installation) -> None:
    page = new_page(storage_state=None)
    page.goto("/sign-in")
    page.keyboard.type(answering.key)
    page.keyboard.press("Enter")
    expect(page.locator("#composer")).to_be_visible()
    expect(page.locator("html")).to_have_class("scripted")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("main"), "the first stop skips the frame").to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#image")).to_be_focused()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files(PICTURES / "landscape.jpg")
    expect(page.locator("#question")).to_be_focused()
    page.keyboard.type("What is the error code?")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".turn .words")).to_have_text(CODE)
    expect(page.locator(".turn")).to_be_focused()


def test_where_the_keyboard_is_can_always_be_seen(page: Page) -> None:
    turn = ask(page, "What is the error code?")
    turn.get_by_role("link", name="Details").wait_for()
    for path in ("/", page.get_by_role("link", name="Details").get_attribute("href") or ""):
        page.goto(path)
        stops = 0
        while stops < 60:
            page.keyboard.press("Tab")
            seen = page.evaluate(
                """() => {
                    const at = document.activeElement;
                    if (at === document.body) return null;
                    const shown = [at, at.parentElement, at.nextElementSibling].filter(Boolean);
                    return [at.outerHTML.slice(0, 80), shown.some((one) => {
                        const style = getComputedStyle(one);
                        return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
                    })];
                }"""
            )
            if seen is None:
                break
            assert seen[1], seen[0]
            stops += 1
        assert 10 < stops < 60


def test_what_slips_in_stays_text(page: Page, answering: Installation) -> None:
    with caller(answering.url, answering.key) as http:
        job_id = open_job(http, question=XSS, group=XSS, metadata='{"<script>": "</script>"}')
        ended(http, job_id)
    for path in (f"/jobs/{job_id}", "/"):
        page.goto(path)
        expect(page.locator("main")).to_contain_text("<script>window.hacked")
        assert page.evaluate("window.hacked") is None
        assert page.locator("img[src=x]").count() == 0
    page.locator("#question").fill(XSS)
    assert page.evaluate("window.hacked") is None
    turn = ask(page, XSS)
    expect(turn.locator(".answer.succeeded")).to_be_visible()
    assert page.evaluate("window.hacked") is None


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


def test_light_and_dark_and_both_languages_are_a_press_away(new_page: NewPage) -> None:
    page = new_page(viewport=PHONE)
    page.goto("/")
    html = page.locator("html")
    expect(html).to_have_class("scripted")
    light = html.evaluate("html => getComputedStyle(html).backgroundColor")
    page.get_by_role("button", name="Dark look").click()
    expect(html).to_have_attribute("data-theme", "dark")
    expect(html).not_to_have_css("background-color", light)
    page.get_by_role("button", name="Light look").click()
    expect(html).to_have_css("background-color", light)
    page.get_by_role("button", name="中文").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("看图提问")
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Ask about a picture")
