"""Asking in a real browser: the picture in, the answer out, and on from there."""

import re

import pytest
from playwright.sync_api import Page, expect

from llava_jobs.demo import PICTURES
from tests.browser.browsers import PHONE, NewPage, sign_in
from tests.browser.questions import CODE, RED, ask, hand_over, open_job
from tests.installations import Installation, caller, ended

XSS = "<script>window.hacked=1</script><img src=x onerror=window.hacked=1>'\"`${1}"


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


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_what_is_no_picture_is_refused_where_it_is_dropped(page: Page, event: str) -> None:
    page.goto("/")
    hand_over(page, event, "tall.jpg", "application/pdf")
    expect(page.get_by_role("alert")).to_contain_text("not a picture that is taken here")
    expect(page.locator("#chosen")).to_be_hidden()
    hand_over(page, event, "tall.jpg")
    expect(page.locator("#chosen-name")).to_have_text("tall.jpg")
    expect(page.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize("keys", ["Enter", "Control+Enter"])
def test_enter_asks_in_the_form_and_below_an_answer(page: Page, keys: str) -> None:
    page.goto("/")
    page.locator("#image").set_input_files(PICTURES / "landscape.jpg")
    page.locator("#question").fill("What is the error code?")
    page.locator("#question").press("Shift+Enter")
    page.locator("#question").press("Backspace")
    page.locator("#question").press(keys)
    turn = page.locator(".turn", has_text="error code")
    expect(turn.locator(".words")).to_have_text(CODE)
    turn.get_by_label("Ask on about this picture").fill("What colour is the light?")
    turn.get_by_label("Ask on about this picture").press(keys)
    expect(page.locator(".turn", has_text="colour").locator(".words")).to_have_text(RED)


def test_enter_of_an_input_method_asks_nothing(page: Page) -> None:
    page.goto("/")
    page.locator("#question").evaluate(
        """field => {
            field.form.addEventListener("submit", () => (window.sent = true));
            field.form.noValidate = true;
            const options = {key: "Enter", isComposing: true, bubbles: true, cancelable: true};
            field.dispatchEvent(new KeyboardEvent("keydown", options));
        }"""
    )
    assert page.evaluate("window.sent") is None


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


@pytest.mark.parametrize("picture", ["wide.jpg", "tall.jpg"])
def test_on_a_phone_the_answer_is_in_sight(new_page: NewPage, picture: str) -> None:
    page = new_page(viewport=PHONE)
    turn = ask(page, "What is the error code?", picture)
    expect(turn.locator(".answer.succeeded .words")).to_be_in_viewport(ratio=1)


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


def test_without_scripts_the_chosen_file_is_named_and_recent_questions_have_room(
    new_page: NewPage,
) -> None:
    ask(new_page(), "What colour is the light?").locator(".answer.succeeded").wait_for()
    page = new_page(java_script_enabled=False)
    page.goto("/")
    chooser, call = page.locator("#image"), page.locator(".drop .call")
    expect(chooser).to_have_css("opacity", "1")
    above, below = call.bounding_box(), chooser.bounding_box()
    assert above is not None
    assert below is not None
    assert below["y"] >= above["y"] + above["height"], "neither covers the other"
    row, said = (
        page.locator(f".recent li:first-child {part}").bounding_box() for part in ("a", ".of")
    )
    assert row is not None
    assert said is not None
    assert said["width"] > 0.8 * row["width"]


def test_with_the_keyboard_alone(new_page: NewPage, answering: Installation) -> None:
    page = new_page(storage_state=None)
    page.goto("/sign-in")
    expect(page.get_by_role("textbox")).to_be_focused()
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
