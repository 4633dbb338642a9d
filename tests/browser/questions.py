"""Questions as somebody asks them on the page, or by the API."""

from typing import Any

from playwright.sync_api import Locator, Page

from llava_jobs.demo import PICTURES

RED = "The light is red."
CODE = "The code is E42."


def ask(page: Page, question: str, picture: str = "landscape.jpg") -> Locator:
    """Ask from the form; the turn that comes."""
    page.goto("/")
    page.locator("#image").set_input_files(PICTURES / picture)
    page.locator("#question").fill(question)
    page.get_by_role("button", name="Ask", exact=True).click()
    return page.locator(".turn", has_text=question)


def hand_over(page: Page, event: str, name: str, kind: str = "image/jpeg") -> None:
    """Drop or paste a bundled picture on the page, as a file of some kind."""
    page.evaluate(
        """async ([event, name, bytes, type]) => {
            const carried = new DataTransfer();
            carried.items.add(new File([new Uint8Array(bytes)], name, {type}));
            const options = {clipboardData: carried, dataTransfer: carried, bubbles: true};
            const Kind = event === "paste" ? ClipboardEvent : DragEvent;
            document.body.dispatchEvent(new Kind(event, {...options, cancelable: true}));
        }""",
        [event, name, list((PICTURES / name).read_bytes()), kind],
    )


def open_job(http: Any, **fields: Any) -> str:
    """Submit a job by the API; its id."""
    picture = (PICTURES / "landscape.jpg").read_bytes()
    data = {"question": "What colour is the light?", "cache": "false", **fields}
    response = http.post("/v1/jobs", data=data, files={"image": ("a.jpg", picture)})
    assert response.status_code == 202, response.text
    return str(response.json()["id"])
