"""A client of the HTTP API for Python programs and for the `llava-jobs ask` command."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

ENDED = frozenset({"succeeded", "failed", "canceled"})
_LONGEST_HOLD_S = 30


class ApiError(Exception):
    """Raised when the API refuses a request; ``code`` is the stable code of docs/api.md."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.status = status
        self.code = code


class JobFailed(Exception):
    """Raised when a job ended without an answer; ``job`` is the job as the API shows it."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        error = job.get("error") or {}
        super().__init__(error.get("message") or f"the job was {job['status']}")
        self.job = job


class Client:
    """A connection to one API with one key; a context manager. ``url`` is its root."""

    def __init__(self, url: str, key: str) -> None:
        self._http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=_LONGEST_HOLD_S + 15
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def submit(self, picture: Path | bytes, question: str, **fields: str) -> dict[str, Any]:
        """Submit a question about a picture and return the accepted job.

        ``fields`` are further fields of ``POST /v1/jobs``. Raises ApiError, httpx.HTTPError.
        """
        data = picture if isinstance(picture, bytes) else picture.read_bytes()
        response = self._http.post(
            "/v1/jobs", data={"question": question, **fields}, files={"image": ("picture", data)}
        )
        return _body(response)

    def get(self, job_id: str, hold_s: int = 0) -> dict[str, Any]:
        """Return a job as it stands, or within ``hold_s`` seconds once it has ended."""
        headers = {"Prefer": f"wait={hold_s}"} if hold_s else {}
        return _body(self._http.get(f"/v1/jobs/{job_id}", headers=headers))

    def wait(self, job_id: str, timeout_s: float = 300) -> dict[str, Any]:
        """Return a job once it has ended; raises TimeoutError where it has not by then."""
        give_up = time.monotonic() + timeout_s
        while True:
            left = give_up - time.monotonic()
            job = self.get(job_id, hold_s=max(1, min(_LONGEST_HOLD_S, round(left))))
            if job["status"] in ENDED:
                return job
            if left <= 0:
                raise TimeoutError(f"{job_id} is {job['status']} after {timeout_s:g} s")

    def ask(self, picture: Path | bytes, question: str, timeout_s: float = 300) -> str:
        """Return the answer to a question about a picture; raises JobFailed where there is none."""
        job = self.wait(self.submit(picture, question)["id"], timeout_s)
        if job["status"] != "succeeded":
            raise JobFailed(job)
        return str(job["answer"]["text"])


def _body(response: httpx.Response) -> dict[str, Any]:
    if response.is_success:
        body: dict[str, Any] = response.json()
        return body
    try:
        error = response.json()["error"]
        raise ApiError(response.status_code, error["code"], error["message"])
    except (ValueError, KeyError, TypeError):
        raise ApiError(response.status_code, "http_error", response.reason_phrase) from None
