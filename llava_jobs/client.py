"""A client of the HTTP API for Python programs and for the `llava-jobs ask` command."""

from __future__ import annotations

import json
import operator
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
from tqdm import tqdm

ENDED = frozenset({"succeeded", "failed", "canceled"})
_LONGEST_HOLD_S = 30
_AGAIN_S = 0.5
_FOR_A_WHILE = frozenset({429, 503})


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


@dataclass(frozen=True)
class StreamEvent:
    """One event of a job's stream: ``kind`` is status, token or done."""

    kind: str
    data: Mapping[str, Any]


class Client:
    """A connection to one API with one key; a context manager. ``url`` is its root.

    Calls that the API turns away for a while (429, 503), or that do not reach it, are made again
    for up to ``patience_s``. Safe to share among threads. Every method raises ApiError, and
    httpx.HTTPError where the API cannot be reached.
    """

    def __init__(self, url: str, key: str, patience_s: float = 30.0) -> None:
        self._http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=_LONGEST_HOLD_S + 15
        )
        self._patience_s = patience_s

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def submit(self, picture: Path | bytes, question: str, **fields: str) -> dict[str, Any]:
        """Submit a question about a picture and return the accepted job.

        ``fields`` are further fields of ``POST /v1/jobs``.
        """
        data = picture if isinstance(picture, bytes) else picture.read_bytes()
        return self._call(
            "POST",
            "/v1/jobs",
            data={"question": question, **fields},
            files={"image": ("picture", data)},
            # So that a call that is made again is no second job.
            headers={"Idempotency-Key": uuid.uuid4().hex},
        )

    def ask_on(self, job_id: str, question: str, **fields: Any) -> dict[str, Any]:
        """Submit a question that goes on from a job that has succeeded; the accepted job.

        ``fields`` are further fields of ``POST /v1/jobs``, as JSON.
        """
        body = {"previous_job_id": job_id, "question": question, **fields}
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        return self._call("POST", "/v1/jobs", json=body, headers=headers)

    def get(self, job_id: str, hold_s: int = 0) -> dict[str, Any]:
        """Return a job as it stands, or within ``hold_s`` seconds once it has ended."""
        headers = {"Prefer": f"wait={hold_s}"} if hold_s else {}
        return self._call("GET", f"/v1/jobs/{job_id}", headers=headers)

    def get_many(self, job_ids: Sequence[str]) -> list[dict[str, Any]]:
        """Return up to 100 jobs as they stand, in that order; those that are gone are left out."""
        found = self._call("GET", "/v1/jobs", params={"ids": ",".join(job_ids)})
        return list(found["data"])

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

    def stream(self, job_id: str) -> Iterator[StreamEvent]:
        """Yield what happens to a job, the pieces of its answer included, until it has ended.

        A stream that breaks off is taken up where it was.
        """
        last, give_up = "", time.monotonic() + self._patience_s
        while True:
            headers = {"Last-Event-ID": last} if last else {}
            try:
                with self._http.stream(
                    "GET", f"/v1/jobs/{job_id}/stream", headers=headers
                ) as response:
                    if response.is_error:
                        response.read()
                    _raise_for(response)
                    for place, event in _events(response.iter_lines()):
                        last = place or last
                        give_up = time.monotonic() + self._patience_s
                        yield event
                        if event.kind == "done":
                            return
            except httpx.TransportError:
                if time.monotonic() > give_up:
                    raise
            time.sleep(_AGAIN_S)

    def map(
        self,
        asked: Iterable[tuple[Path | bytes, str]],
        *,
        in_flight: int = 64,
        progress: bool = True,
        **fields: str,
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Ask many questions, at most ``in_flight`` under way at a time, and show the progress.

        Yields each question's number, from 0 in the order of ``asked``, and its job, as they end.
        ``fields`` are as in ``submit``.
        """
        waiting: dict[str, int] = {}
        left = iter(enumerate(asked))
        total = operator.length_hint(asked) or None
        with tqdm(total=total, unit="answer", disable=not progress) as bar:
            while True:
                for number, (picture, question) in islice(left, in_flight - len(waiting)):
                    waiting[self.submit(picture, question, **fields)["id"]] = number
                if not waiting:
                    return
                ended = self._ended(list(waiting))
                for job in ended:
                    bar.update()
                    yield waiting.pop(job["id"]), job
                if not ended:
                    time.sleep(_AGAIN_S)

    def _ended(self, job_ids: Sequence[str]) -> list[dict[str, Any]]:
        pages = (job_ids[i : i + 100] for i in range(0, len(job_ids), 100))
        return [job for page in pages for job in self.get_many(page) if job["status"] in ENDED]

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        give_up = time.monotonic() + self._patience_s
        while True:
            wait = _AGAIN_S
            try:
                response = self._http.request(method, path, **options)
                if response.status_code not in _FOR_A_WHILE:
                    return _body(response)
                wait = float(response.headers.get("Retry-After", wait))
                if time.monotonic() + wait > give_up:
                    return _body(response)
            except httpx.TransportError:
                if time.monotonic() + wait > give_up:
                    raise
            time.sleep(wait)


def _events(lines: Iterable[str]) -> Iterator[tuple[str, StreamEvent]]:
    """Read server-sent events (html.spec.whatwg.org): their ids, and what they say."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if line and name:
            fields[name] = value.removeprefix(" ")
        elif not line and "data" in fields:
            yield fields.get("id", ""), StreamEvent(fields["event"], json.loads(fields["data"]))
            fields = {}


def _body(response: httpx.Response) -> dict[str, Any]:
    _raise_for(response)
    body: dict[str, Any] = response.json()
    return body


def _raise_for(response: httpx.Response) -> None:
    if response.is_success:
        return
    try:
        error = response.json()["error"]
        raise ApiError(response.status_code, error["code"], error["message"])
    except (ValueError, KeyError, TypeError):
        raise ApiError(response.status_code, "http_error", response.reason_phrase) from None
