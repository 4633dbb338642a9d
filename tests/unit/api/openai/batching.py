"""Batches for tests: files of requests, a feeder that is stepped by hand, and a worker."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from flask import Flask

from api.openai.batch_runner import Feeder
from jobs.job import Claim, Outcome, Status
from jobs.ledger import Ledger
from tests.eventually import eventually
from tests.ledgers import MODEL
from tests.unit.api.conftest import DATA_URI, Caller

ENDPOINT = "/v1/chat/completions"
USAGE = {"prompt_tokens": 7, "cached_tokens": 2, "completion_tokens": 3}
ENDS = {"completed", "failed", "expired", "cancelled"}


def feeder(app: Flask, *, jobs: int = 512, **parts: Any) -> Feeder:
    """A feeder that looks again soon, and is not started."""
    services = app.extensions["services"]
    settings = services.settings.model_copy(update={"batch_ms": 10, "batch_jobs": jobs})
    return Feeder(replace(services, settings=settings, **parts))


def picture(api: Caller) -> str:
    """The id of a picture that lines show."""
    return str(api("POST", "/v1/images", json={"data": DATA_URI}).get_json()["id"])


def asks(shown: str, question: str, **body: Any) -> dict[str, Any]:
    """The body of a line that asks about an uploaded picture."""
    content = [
        {"type": "image_url", "image_url": {"id": shown}},
        {"type": "text", "text": question},
    ]
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **body}


def line(custom_id: str, body: Any, **fields: Any) -> dict[str, Any]:
    """A line of a batch."""
    return {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body, **fields}


def jsonl(lines: Iterable[Any]) -> bytes:
    """Lines as a file has them; what is bytes is as it is."""
    return b"".join(
        (text if isinstance(text, bytes) else json.dumps(text).encode()) + b"\n" for text in lines
    )


def form(content: bytes, **fields: str) -> dict[str, Any]:
    """A form with a file, as the `openai` package sends it, and its type."""
    told = {"purpose": "batch", **fields}
    parts = [f'Content-Disposition: form-data; name="{n}"\r\n\r\n{v}' for n, v in told.items()]
    named = 'Content-Disposition: form-data; name="file"; filename="lines.jsonl"\r\n\r\n'
    data = b"".join(f"--b\r\n{part}\r\n".encode() for part in parts)
    data += f"--b\r\n{named}".encode() + content + b"\r\n--b--\r\n"
    return {"data": data, "content_type": "multipart/form-data; boundary=b"}


def upload(api: Caller, content: bytes, **fields: str) -> Any:
    """The answer to a file that is sent."""
    return api("POST", "/v1/files", **form(content, **fields))


def uploaded(api: Caller, content: bytes) -> str:
    """The id of a file that was just sent."""
    response = upload(api, content)
    assert response.status_code == 200, response.text
    return str(response.get_json()["id"])


def begin(api: Caller, content: bytes, **fields: Any) -> dict[str, Any]:
    """A batch that was just begun."""
    asked = {
        "input_file_id": uploaded(api, content),
        "endpoint": ENDPOINT,
        "completion_window": "24h",
        **fields,
    }
    response = api("POST", "/v1/batches", json=asked)
    assert response.status_code == 200, response.text
    made: dict[str, Any] = response.get_json()
    return made


def batch_of(api: Caller, batch: dict[str, Any]) -> dict[str, Any]:
    """A batch as it stands."""
    found: dict[str, Any] = api("GET", f"/v1/batches/{batch['id']}").get_json()
    return found


def failed(app: Flask, api: Caller, **fields: Any) -> dict[str, Any]:
    """A batch that has ended, as its only line cannot be run."""
    return until(api, feeder(app), begin(api, b"{}\n", **fields), "failed")


def questions(shown: str, count: int) -> bytes:
    """So many lines, each with a question of its own."""
    return jsonl(line(f"n{i}", asks(shown, f"What is {i}?")) for i in range(count))


def written(api: Caller, file_id: str | None) -> list[dict[str, Any]]:
    """The lines of a file; none where there is no file."""
    if file_id is None:
        return []
    text = api("GET", f"/v1/files/{file_id}/content").data
    assert text.endswith(b"\n")
    return [json.loads(each) for each in text.decode().splitlines()]


def answer(ledger: Ledger, claim: Claim) -> None:
    """Answer a job with its question."""
    text = str(claim.job.conversation.question)
    told = {"text": text, "finish_reason": "stop"}
    assert ledger.finish(claim, Outcome(Status.SUCCEEDED, answer=told, usage=USAGE))


def work(ledger: Ledger, most: int = 10_000) -> int:
    """Answer what waits; returns how many jobs that were."""
    done = 0
    while done < most and (claim := ledger.claim(MODEL, "w1")):
        answer(ledger, claim)
        done += 1
    return done


def run(api: Caller, feeding: Feeder, ledger: Ledger, batch: dict[str, Any]) -> dict[str, Any]:
    """Feed and answer until a batch has ended."""

    def look() -> dict[str, Any] | None:
        feeding.step()
        work(ledger)
        seen = batch_of(api, batch)
        return seen if seen["status"] in ENDS else None

    return eventually(look, "the batch ends")


def until(api: Caller, feeding: Feeder, batch: dict[str, Any], status: str) -> dict[str, Any]:
    """Feed until a batch is in a state."""

    def look() -> dict[str, Any] | None:
        feeding.step()
        seen = batch_of(api, batch)
        return seen if seen["status"] == status else None

    return eventually(look, f"the batch is {status}")
