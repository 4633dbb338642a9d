"""A client of the HTTP API for Python programs and for the `llava-jobs ask` command."""

from __future__ import annotations

import json
import operator
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from tqdm import tqdm

from llava_jobs.backoff import Backoff, retry_after
from llava_jobs.sse import messages

ENDED = frozenset({"succeeded", "failed", "canceled"})
_LONGEST_HOLD_S = 30
_AGAIN_S = 0.5
_FOR_A_WHILE = frozenset({429, 502, 503, 504})
_OF_THE_CALLER = frozenset({401, 403})
_LOST = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)


class ApiError(Exception):
    """Raised when the API refuses a request; ``code`` is the stable code of docs/api.md.

    ``retry_after_s`` are the seconds after which the API says to try again; 0 where it does not.
    """

    def __init__(self, status: int, code: str, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(f"{message} ({code})")
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


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

    Calls that the API turns away for a while (429, 502, 503, 504), or that do not reach it, are
    made again for up to ``patience_s``, not before its ``Retry-After`` and at random times behind
    that. Safe to share among threads. Every method raises ApiError, and httpx.HTTPError where the
    API cannot be reached.
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
        """Return a job once it has ended; raises TimeoutError where it has not by then.

        The API holds each call until the job has ended. Where it does not, the next call waits for
        the ``Retry-After``.
        """
        give_up = time.monotonic() + timeout_s
        while True:
            asked = time.monotonic()
            left = max(0.0, give_up - asked)
            hold_s = min(_LONGEST_HOLD_S, int(left))
            response = self._send(
                "GET",
                f"/v1/jobs/{job_id}",
                patience_s=min(left, self._patience_s),
                headers={"Prefer": f"wait={hold_s}"} if hold_s else {},
            )
            job: dict[str, Any] = response.json()
            if job["status"] in ENDED:
                return job
            now = time.monotonic()
            if now >= give_up:
                raise TimeoutError(f"{job_id} is {job['status']} after {timeout_s:g} s")
            held = "Preference-Applied" in response.headers
            told_s = 0.0 if held else retry_after(response.headers)
            # A server that ends holds a call for less than it says: never ask again at once.
            time.sleep(min(max(told_s, asked + _AGAIN_S - now, 0.0), give_up - now))

    def ask(self, picture: Path | bytes, question: str, timeout_s: float = 300) -> str:
        """Return the answer to a question about a picture; raises JobFailed where there is none."""
        job = self.wait(self.submit(picture, question)["id"], timeout_s)
        if job["status"] != "succeeded":
            raise JobFailed(job)
        return str(job["answer"]["text"])

    def stream(self, job_id: str) -> Iterator[StreamEvent]:
        """Yield what happens to a job, the pieces of its answer included, until it has ended.

        A stream that breaks off, as when its server is replaced, is resumed where it was. Raises
        ApiError or httpx.HTTPError where nothing comes for ``patience_s``.
        """
        last, backoff = "", Backoff(self._patience_s)
        while True:
            failure: Exception = httpx.RemoteProtocolError(
                f"the stream of {job_id} ends again and again before the job does"
            )
            try:
                for place, event in self._follow(job_id, last):
                    backoff.restart()
                    last = place or last
                    if event is not None:
                        yield event
                        if event.kind == "done":
                            return
            except (ApiError, *_LOST) as error:
                failure = error
            if not _wait_after(failure, backoff):
                raise failure

    def _follow(self, job_id: str, last: str) -> Iterator[tuple[str, StreamEvent | None]]:
        """Yield the ids and events of one connection, from behind an id; no event for a comment."""
        path = f"/v1/jobs/{job_id}/stream"
        headers = {"Last-Event-ID": last} if last else {}
        with self._http.stream("GET", path, headers=headers) as response:
            if response.is_error:
                response.read()
            _raise_for(response)
            for message in messages(response.iter_bytes()):
                if message is None:
                    yield "", None
                else:
                    yield message.id, StreamEvent(message.event, json.loads(message.data))

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
        ``fields`` are as in ``submit``. A question that cannot be asked, or whose job is erased
        meanwhile, is a job that has failed: its ``error`` has a code and a message, its ``id`` is
        None where there is none. Raises as all methods do where no further question can be asked.
        """
        if in_flight < 1:
            raise ValueError(f"in_flight must be at least 1, not {in_flight}")
        waiting: dict[str, int] = {}
        left = iter(enumerate(asked))
        has_more = True
        total = operator.length_hint(asked) or None
        with tqdm(total=total, unit="answer", disable=not progress) as bar:
            while has_more or waiting:
                while has_more and len(waiting) < in_flight:
                    number, question = next(left, (-1, None))
                    has_more = question is not None
                    if question is None:
                        break
                    job = self._submitted(*question, fields)
                    if job["id"] is not None:
                        waiting[job["id"]] = number
                        continue
                    bar.update()
                    yield number, job
                ended = list(self._ended(list(waiting)))
                for job in ended:
                    bar.update()
                    yield waiting.pop(job["id"]), job
                if waiting and not ended:
                    time.sleep(_AGAIN_S)

    def _submitted(
        self, picture: Path | bytes, question: str, fields: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return the accepted job, or one that has failed where the question itself is at fault."""
        try:
            return self.submit(picture, question, **fields)
        except OSError as error:
            return _failed(None, "picture_unreadable", f"{picture!s}: {error.strerror or error}")
        except ApiError as error:
            if error.status in _OF_THE_CALLER | _FOR_A_WHILE:
                raise
            return _failed(None, error.code, error.message)

    def _ended(self, job_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
        for first in range(0, len(job_ids), 100):
            page = job_ids[first : first + 100]
            found = {job["id"]: job for job in self.get_many(page)}
            for job_id in page:
                job = found.get(job_id) or self._get_or_failed(job_id)
                if job["status"] in ENDED:
                    yield job

    def _get_or_failed(self, job_id: str) -> dict[str, Any]:
        try:
            return self.get(job_id)
        except ApiError as error:
            if error.status != 404:
                raise
            return _failed(job_id, error.code, error.message)

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        body: dict[str, Any] = self._send(method, path, **options).json()
        return body

    def _send(
        self, method: str, path: str, *, patience_s: float | None = None, **options: Any
    ) -> httpx.Response:
        backoff = Backoff(self._patience_s if patience_s is None else patience_s)
        while True:
            try:
                response = self._http.request(method, path, **options)
                _raise_for(response)
            except (ApiError, *_LOST) as error:
                if not _wait_after(error, backoff):
                    raise
            else:
                return response


def _wait_after(error: Exception, backoff: Backoff) -> bool:
    """Wait before a call that failed is made again; False where that would not help."""
    if isinstance(error, ApiError):
        return error.status in _FOR_A_WHILE and backoff.wait(error.retry_after_s)
    return backoff.wait()


def _failed(job_id: str | None, code: str, message: str) -> dict[str, Any]:
    error = {"code": code, "message": message}
    return {"id": job_id, "status": "failed", "answer": None, "error": error}


def _raise_for(response: httpx.Response) -> None:
    if response.is_success:
        return
    after_s = retry_after(response.headers)
    try:
        error = response.json()["error"]
        raise ApiError(response.status_code, error["code"], error["message"], after_s)
    except (ValueError, KeyError, TypeError):
        phrase = response.reason_phrase
        raise ApiError(response.status_code, "http_error", phrase, after_s) from None
