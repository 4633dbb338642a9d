"""Pictures of the pages of operations: `python -m tests.browser.busy_screenshots`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.browser.browsers import chromium, sign_in, visit
from tests.browser.busy import busy
from tests.browser.screenshots import FOLDER, LOOKS, shrunk

PAGES = {"operations": "/console", "keys": "/console/keys"}


def main() -> None:
    """Take a picture of each page in every look."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="screenshots-") as folder, busy(Path(folder)) as day:
        day.fill()
        with chromium() as browser:
            for look, options in LOOKS.items():
                with visit(browser, day.url, **options) as context:
                    page = context.new_page()
                    sign_in(page, day.operator)
                    for name, path in PAGES.items():
                        page.goto(path)
                        shrunk(page.screenshot(full_page=True), FOLDER / f"{name}-{look}.png")


if __name__ == "__main__":
    main()
