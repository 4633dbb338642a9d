"""OpenAI's chat completions: a job whose caller waits for its answer, or streams it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from typing import Any

import structlog
from flask import Blueprint, Response, jsonify, request

from api.http.auth import tenant
from api.http.disconnect import is_gone, is_leaving
from api.http.errors import openai_error, problem
from api.jobs.request import read_json
from api.jobs.routes import accept, address
from api.jobs.stream import Stream, event_stream
from api.jobs.stream_events import Event, Place
from api.openai.chat_request import ChatCompletion
from api.openai.chat_response import Chunks, NotAnswered, completion
from api.openai.errors import as_clients_know_it
from api.services import Services, services
from jobs.errors import InvalidRequest, JobsError, NotFound
from jobs.job import Job

bp = Blueprint("chat", __name__, url_prefix="/v1/chat")
_log = structlog.get_logger()


@bp.post("/completions")
def create_chat_completion() -> Response:
    """Answer a conversation, at once or piece by piece."""
    owner = tenant()
    parts = services()
    asked = read_json(ChatCompletion, request)
    streams, with_usage = bool(asked.stream), asked.includes_usage
    with ExitStack() as held:
        held.callback(parts.connections.hold(owner))
        try:
            job = accept(owner, asked.to_job())
        except InvalidRequest as error:
            raise asked.as_told_here(error) from None
        del asked  # with its pictures, while its caller waits
        caller = Caller(parts, job, aloud=streams)
        if streams:
            response = event_stream(_lines(caller, Chunks(job, with_usage=with_usage)))
            response.call_on_close(held.pop_all().close)
        else:
            response = jsonify(completion(job, _end(caller)))
    response.headers["Operation-Location"] = address(job.id)
    return response


@bp.errorhandler(JobsError)
def _as_openai_says_it(error: JobsError) -> Response:
    """Answer with the status that OpenAI's clients have a class for."""
    response = problem(as_clients_know_it(error))
    if isinstance(error, NotAnswered):
        response.headers["Location"] = address(error.job)
        if error.final:
            response.headers["x-should-retry"] = "false"
    return response


class Caller:
    """Somebody who waits for a completion's job, and takes it along on leaving before its end.

    ``aloud`` has the answer told while it grows.
    """

    def __init__(self, parts: Services, job: Job, *, aloud: bool) -> None:
        self._parts = parts
        self._job = job
        self._give_up = time.monotonic() + parts.settings.chat_timeout_s
        environ = request.environ
        self._is_gone: Callable[[], bool] = lambda: is_gone(environ)
        self._is_leaving = is_leaving()
        self._stream = Stream(parts, job, Place(), self._is_over, aloud=aloud)

    def events(self) -> Generator[Event | None]:
        """Yield what happens, until the job has ended.

        Raises NotAnswered where it takes too long, NotFound where the job is erased.
        """
        done = False
        try:
            for event in self._stream.events():
                done = done or (event is not None and event.kind == "done")
                yield event
            if not done:
                raise self._unanswered()
        finally:
            if not done and self._is_gone():
                self._abandon()

    def _is_over(self) -> bool:
        return self._is_gone() or self._is_leaving() or time.monotonic() >= self._give_up

    def _unanswered(self) -> JobsError:
        if not self._is_over():
            return NotFound("the job was erased", code="job_not_found")
        return NotAnswered(
            self._job.id,
            f"{self._job.id} is not answered yet and goes on: GET /v1/jobs/{self._job.id} shows it,"
            " and whoever sends the same again waits on",
            code="not_answered_yet",
            status=503 if self._is_leaving() else 504,
            final=False,
        )

    def _abandon(self) -> None:
        try:
            self._parts.ledger.abandon(self._job.tenant, self._job.id)
        except JobsError as error:
            _log.warning("not_abandoned", job=self._job.id, code=error.code)


def _end(caller: Caller) -> dict[str, Any]:
    """Return the job as it ended; raises as ``Caller.events`` does."""
    with closing(caller.events()) as events:
        return next(event.data for event in events if event and event.kind == "done")


def _lines(caller: Caller, chunks: Chunks) -> Generator[str]:
    """Yield a completion's chunks as server-sent events; a failure is the last of them."""
    try:
        for chunk in _told(caller, chunks):
            yield ": still here\n\n" if chunk is None else _line(chunk)
    except JobsError as error:
        yield _line({"error": openai_error(error)})
    else:
        yield "data: [DONE]\n\n"


def _told(caller: Caller, chunks: Chunks) -> Iterator[dict[str, Any] | None]:
    yield chunks.first()
    with closing(caller.events()) as events:
        for event in events:
            if event is None:
                yield None
            elif event.kind == "token":
                yield chunks.piece(event.data["text"])
            elif event.kind == "done":
                yield from chunks.last(event.data)
            elif event.data["restart"]:
                raise _other_words(event)


def _other_words(event: Event) -> NotAnswered:
    return NotAnswered(
        event.data["id"],
        "the answer had to be begun anew and has become another; ask again",
        code="answer_restarted",
        status=503,
        final=False,
    )


def _line(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"
