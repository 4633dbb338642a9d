"""A job as it happens: server-sent events of its state and its answer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing

from flask import Blueprint, Response, request

from api.http.auth import tenant
from api.http.disconnect import is_over
from api.jobs.routes import own
from api.jobs.stream_events import DONE, Event, Place, Telling
from api.jobs.token_subscriptions import Ear
from api.services import Services, services
from jobs.errors import JobsError
from jobs.job import Job, Status

bp = Blueprint("streaming", __name__, url_prefix="/v1")

LOOK_S = 1.0
"""How often it is seen whether the caller, and this process, are still there."""
RECHECK_S = 2.0
"""How often a job is looked at where nothing was heard of it."""
HEARTBEAT_S = 15.0
"""After so long a silence a comment keeps what lies between from hanging up."""
RETRY_MS = 1000


@bp.get("/jobs/<job_id>/stream")
def stream_job(job_id: str) -> Response:
    """Tell of a job until it has ended; 204 where the caller has been told all."""
    owner = tenant()
    job = own(owner, job_id)
    last = request.headers.get("Last-Event-ID")
    if last == DONE:
        return Response(status=204)
    parts = services()
    place = Place.read(last) if last else Place()
    stream = Stream(parts, job, place, is_over())
    let_go = parts.connections.hold(owner)
    response = event_stream(_lines(stream.events()))
    response.call_on_close(let_go)
    return response


def event_stream(lines: Iterator[str]) -> Response:
    """Return a response of server-sent events that nothing on the way keeps back."""
    response = Response(lines, mimetype="text/event-stream")
    response.headers["Cache-Control"] = "private, no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response


class Stream:
    """What one caller is told of one job, from a place on, until ``is_over`` says so.

    ``aloud`` has its worker tell the answer while it grows.
    """

    def __init__(
        self,
        parts: Services,
        job: Job,
        place: Place,
        is_over: Callable[[], bool],
        *,
        aloud: bool = True,
    ) -> None:
        self._parts = parts
        self._owner = job.tenant
        self._job_id = job.id
        self._telling = Telling(place)
        self._is_over = is_over
        self._aloud = aloud
        self._job: Job | None = job
        self._position: int | None = None
        self._look_again = 0.0

    def events(self) -> Generator[Event | None]:
        """Yield events until the job has ended or is erased; None where it has long been silent."""
        ear = self._parts.following.follow(self._job_id)
        spoken = time.monotonic()
        try:
            while not self._is_over():
                for event in self._news(ear):
                    spoken = time.monotonic()
                    yield event
                if self._job is None or self._job.status.is_terminal:
                    return
                if time.monotonic() - spoken >= HEARTBEAT_S:
                    spoken = time.monotonic()
                    yield None
                ear.wait(LOOK_S)
        finally:
            self._parts.following.leave(ear)

    def _news(self, ear: Ear) -> Iterator[Event]:
        if ear.has_changed or time.monotonic() >= self._look_again:
            self._look(ear)
        if self._job is not None:
            yield from self._telling.news(self._job, self._position, ear.text)

    def _look(self, ear: Ear) -> None:
        """Look where the job stands; a store that is away makes the stream silent, not end."""
        self._look_again = time.monotonic() + RECHECK_S
        ledger = self._parts.ledger
        try:
            job = ledger.get(self._owner, self._job_id)
            waits = job is not None and job.status is Status.QUEUED
            self._position = ledger.position(job) if job and waits else None
            self._job = job
            if job and not job.status.is_terminal:
                self._listen(ear, job)
        except JobsError as error:
            if error.status < 500:
                raise

    def _listen(self, ear: Ear, job: Job) -> None:
        self._parts.following.turn_to(ear, job.deduplicated_from or job.id)
        # Again until something comes, as its worker may not have heard of it.
        if self._aloud and not ear.text:
            self._parts.pieces.listen(self._owner, ear.speaker)


def _lines(events: Generator[Event | None]) -> Iterator[str]:
    with closing(events):
        yield f"retry: {RETRY_MS}\n\n"
        for event in events:
            if event is None:
                yield ": still here\n\n"
            else:
                data = json.dumps(event.data)
                yield f"id: {event.id}\nevent: {event.kind}\ndata: {data}\n\n"
