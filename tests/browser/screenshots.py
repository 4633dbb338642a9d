"""Pictures of the pages for the documents: `python -m tests.browser.screenshots`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page

from llava_jobs.demo import PICTURES
from tests.browser.browsers import PHONE, chromium, sign_in, visit
from tests.installations import Installation

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "zh": {"color_scheme": "light", "locale": "zh-CN"},
    "phone": {
        "color_scheme": "light",
        "viewport": PHONE,
        "device_scale_factor": 1.5,
        "has_touch": True,
    },
}
ASKED = {
    "light": (
        ("tall.jpg", "Which shape is the icon?"),
        ("wide.jpg", "What is the error code?"),
        ("portrait.jpg", "What colour is the light?"),
        ("landscape.jpg", "How many buttons are on the panel?"),
    ),
    "dark": (("landscape.jpg", "What colour is the light?"),),
    "zh": (
        ("portrait.jpg", "面板上的指示灯是什么颜色？"),
        ("landscape.jpg", "你能看到什么错误代码？"),
    ),
    "phone": (("landscape.jpg", "What is the error code?"),),
}


def views(page: Page, look: str, key: str) -> Iterator[str]:
    """Go through the pages; the name of each when it is there to be taken."""
    page.goto("/sign-in")
    yield "sign-in"
    sign_in(page, key)
    yield "start"
    for picture, question in ASKED[look]:
        page.locator("#image").set_input_files(PICTURES / picture)
        page.locator("#question").fill(question)
        page.locator("#ask").click()
        page.locator(".turn", has_text=question).locator(".answer.succeeded").wait_for()
    page.locator(".recent li:first-child", has_text=ASKED[look][-1][1]).wait_for()
    page.locator(".recent li:first-child .succeeded").wait_for()
    page.evaluate(
        """() => {
            document.activeElement.blur();
            scrollTo(0, 0);
            const code = document.querySelector("#code-curl").firstChild;
            code.data = code.data.replace(location.port, "8000");
        }"""
    )
    yield "ask"
    page.locator(".turn a.aside").click()
    page.locator("#line-title").wait_for()
    yield "job"
    page.goto("/jobs/nothing")
    yield "nothing"


def take(browser: Browser, installation: Installation, folder: Path) -> None:
    """Take a picture of every page in every look."""
    folder.mkdir(parents=True, exist_ok=True)
    for look, options in LOOKS.items():
        with visit(browser, installation.url, **options) as context:
            page = context.new_page()
            for name in views(page, look, installation.key):
                shrunk(page.screenshot(full_page=True), folder / f"{name}-{look}.png")


def shrunk(png: bytes, path: Path) -> None:
    """Write a picture with 256 colours, which is all that a page has."""
    with Image.open(BytesIO(png)) as picture:
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    """Take all pictures of an installation of one's own."""
    with tempfile.TemporaryDirectory(prefix="screenshots-") as data:
        installation = Installation(Path(data))
        try:
            installation.ready()
            with chromium() as browser:
                take(browser, installation, FOLDER)
        finally:
            installation.end()


if __name__ == "__main__":
    main()
