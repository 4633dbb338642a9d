"""What a helpdesk asks of an installation by HTTP: jobs with a scripted answer, and batches."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import httpx
from PIL import Image

from tests.eventually import eventually
from tests.faults.cluster import Cluster
from tests.faults.script import Act, Script

ENDED = {"succeeded", "failed", "canceled"}
CLOSED = {"completed", "failed", "expired", "cancelled"}
ENDPOINT = "/v1/chat/completions"
SOON_S = 120.0
_NUMBERS = count(10_000_000)


class Helpdesk:
    """A tenant's programs, which go to either API of an installation."""

    def __init__(self, cluster: Cluster, tenant: str) -> None:
        key = cluster.key_of(tenant)
        headers = {"Authorization": f"Bearer {key}"}
        self.apis = [
            httpx.Client(base_url=url, headers=headers, timeout=15) for url in cluster.urls
        ]

    def submit(
        self, api: int = 0, milliseconds: int = 5, act: Act = Act.ANSWER, **fields: Any
    ) -> str:
        """The id of a job that was just accepted; the act is done at every attempt."""
        script = Script(next(_NUMBERS), milliseconds, act, 0)
        body = {"question": script.question, "images": [{"data": PICTURE}], **fields}
        return str(self.must(api, "POST", "/v1/jobs", json=body)["id"])

    def job(self, job_id: str, api: int = 0) -> dict[str, Any]:
        """A job as it stands."""
        return self.must(api, "GET", f"/v1/jobs/{job_id}")

    def ended(self, job_id: str, api: int = 0) -> dict[str, Any]:
        """A job that has ended."""

        def look() -> dict[str, Any] | None:
            job = self.job(job_id, api)
            return job if job["status"] in ENDED else None

        return eventually(look, "the job ends", SOON_S)

    def begin_batch(self, lines: int, milliseconds: int) -> str:
        """The id of a batch of so many lines, each answered after so long."""
        scripts = [Script(next(_NUMBERS), milliseconds) for _ in range(lines)]
        content = "".join(json.dumps(_line(script)) + "\n" for script in scripts)
        sent = {"file": ("lines.jsonl", content.encode())}
        file = self.must(0, "POST", "/v1/files", data={"purpose": "batch"}, files=sent)
        asked = {
            "input_file_id": file["id"],
            "endpoint": ENDPOINT,
            "completion_window": "24h",
        }
        return str(self.must(0, "POST", "/v1/batches", json=asked)["id"])

    def batch(self, batch_id: str, api: int = 0) -> dict[str, Any]:
        """A batch as it stands; where an API does not answer, the other one is asked."""
        try:
            return self.must(api, "GET", f"/v1/batches/{batch_id}")
        except httpx.HTTPError:
            return self.must(1 - api, "GET", f"/v1/batches/{batch_id}")

    def closed(self, batch_id: str) -> dict[str, Any]:
        """A batch that has come to an end."""

        def look() -> dict[str, Any] | None:
            batch = self.batch(batch_id)
            return batch if batch["status"] in CLOSED else None

        return eventually(look, "the batch comes to an end", SOON_S)

    def in_progress(self, batch_id: str) -> None:
        """Wait until lines of a batch have been answered, and others have not."""

        def look() -> bool:
            counts = self.batch(batch_id)["request_counts"]
            return bool(0 < counts["completed"] < counts["total"])

        eventually(look, "the batch is in progress", SOON_S)

    def lines(self, file_id: str | None) -> list[str]:
        """The custom ids of a batch's file; none where there is no file."""
        if file_id is None:
            return []
        response = self.apis[0].get(f"/v1/files/{file_id}/content")
        response.raise_for_status()
        return [json.loads(line)["custom_id"] for line in response.text.splitlines()]

    def must(self, api: int, method: str, path: str, **options: Any) -> dict[str, Any]:
        """What a call is answered with, which has to go well."""
        response = self.apis[api].request(method, path, **options)
        if not response.is_success:
            raise AssertionError(f"{method} {path}: {response.status_code} {response.text}")
        found: dict[str, Any] = response.json() if response.content else {}
        return found


@contextmanager
def helpdesk(cluster: Cluster, tenant: str) -> Iterator[Helpdesk]:
    """A tenant of an installation that is ready."""
    cluster.ready()
    desk = Helpdesk(cluster, tenant)
    yield desk
    for http in desk.apis:
        http.close()


def _line(script: Script) -> dict[str, Any]:
    content = [
        {"type": "image_url", "image_url": {"url": PICTURE}},
        {"type": "text", "text": script.question},
    ]
    body = {"model": "demo", "messages": [{"role": "user", "content": content}]}
    return {"custom_id": f"n{script.number}", "method": "POST", "url": ENDPOINT, "body": body}


def _picture() -> str:
    out = io.BytesIO()
    Image.new("RGB", (16, 16), (70, 90, 160)).save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"


PICTURE = _picture()
