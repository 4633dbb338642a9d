"""The native routes: jobs in, jobs out."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from flask import Blueprint, Response, current_app, g, jsonify, request

from api.access import known_as
from api.auth import require, tenant
from api.connections import Connections
from api.follow_ups import answered, asked_on
from api.following import Following
from api.forecasts import as_queue
from api.pictures import Pictures
from api.receivers import Receivers
from api.representation import represent
from api.validation import CreateJob, Message, TextPart, read_create_job
from api.waiting import Waiting
from jobs.batches import Batches
from jobs.errors import InvalidRequest, NotFound
from jobs.feed import Feed
from jobs.files import Files
from jobs.hints import Hints
from jobs.job import Draft, Job, Priority, Status
from jobs.keys import Keys, Scope
from jobs.ledger import Ledger
from jobs.listing import Listing
from jobs.operations import Operations
from jobs.pace import Paces
from jobs.pieces import Pieces
from jobs.request import Conversation, ImagePart, Parameters, Turn
from jobs.settings import Settings
from jobs.signals import Signals
from jobs.tenants import Tenants
from jobs.tracing import Tracer, trace_id

bp = Blueprint("v1", __name__, url_prefix="/v1")


@dataclass(frozen=True)
class Services:
    """What the routes work with; one of it per process, in ``app.extensions``."""

    settings: Settings
    ledger: Ledger
    pictures: Pictures
    hints: Hints
    waiting: Waiting
    listing: Listing
    feed: Feed
    keys: Keys
    tenants: Tenants
    pieces: Pieces
    following: Following
    connections: Connections
    paces: Paces
    receivers: Receivers
    files: Files
    batches: Batches
    signals: Signals
    operations: Operations
    tracer: Tracer


@bp.post("/jobs")
def create_job() -> Response:
    """Accept a job: 202, or 200 where the caller prefers to wait and it ends in time."""
    owner, parts = tenant(), services()
    job, needs_worker = accept(owner, read_create_job(request))
    with parts.waiting.granted(owner, request.headers.get("Prefer")) as seconds:
        if seconds and needs_worker:
            parts.hints.publish(job.model)
        job = parts.waiting.until_ended(lambda: own(owner, job.id), seconds) if seconds else job
    response = shown(job)
    if needs_worker and not seconds:
        # The job is safe already; its caller need not wait for the broker.
        response.call_on_close(partial(parts.hints.publish, job.model))
    response.status_code = 200 if job.status.is_terminal and seconds else 202
    if seconds:
        response.headers["Preference-Applied"] = f"wait={seconds:g}"
    response.headers["Location"] = response.headers["Operation-Location"] = address(job.id)
    return response


@bp.get("/jobs/<job_id>")
def get_job(job_id: str) -> Response:
    """Show a job; 304 where the caller has it as it is."""
    owner, waiting = tenant(), services().waiting
    with waiting.granted(owner, request.headers.get("Prefer")) as seconds:
        job = waiting.until_ended(lambda: own(owner, job_id), seconds)
    response = shown(job)
    response.make_conditional(request)
    return response


@bp.post("/jobs/<job_id>/cancel")
def cancel_job(job_id: str) -> Response:
    """Stop a job, queued or running."""
    job = services().ledger.cancel(tenant(), job_id)
    if job is None:
        raise no_job()
    return shown(job)


@bp.delete("/jobs/<job_id>")
def erase_job(job_id: str) -> Response:
    """Leave nothing of a job, wherever it stands."""
    if not services().ledger.erase(tenant(), job_id):
        raise no_job()
    return Response(status=204)


@bp.get("/models")
def list_models() -> Response:
    """List the models that have live workers, in OpenAI's shape."""
    ledger = services().ledger
    names = sorted(name for name in ledger.models() if ledger.workers(name))
    return jsonify({"object": "list", "data": [_model(name) for name in names]})


@bp.get("/models/<path:name>")
def get_model(name: str) -> Response:
    """Show a model that has live workers, in OpenAI's shape."""
    if not services().ledger.workers(name):
        raise NotFound("no worker serves this model", code="model_not_found", param="model")
    return jsonify(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "llava-jobs"}


def services() -> Services:
    """Return what the routes of the current application work with."""
    found: Services = current_app.extensions["services"]
    return found


def accept(owner: str, body: CreateJob) -> tuple[Job, bool]:
    """Accept the job that a body asks for; True where a worker is to be called for it."""
    parts = services()
    with parts.tracer.span("accept", g.traceparent, tenant=owner) as context:
        draft = drafted(parts, owner, body, _idempotency_key())
        draft = replace(draft, trace=context, key=g.caller.id)
        known_as(job=draft.id, trace=trace_id(context))
        job, needs_worker = submit(parts, draft)
    known_as(job=job.id)
    return job, needs_worker


def submit(parts: Services, draft: Draft) -> tuple[Job, bool]:
    """Accept a job; True where a worker is to be called for it."""
    job, replayed = parts.ledger.submit(draft, _soonest_ms(parts, draft))
    return job, not replayed and job.deduplicated_from is None


def own(owner: str, job_id: str) -> Job:
    """Return a tenant's job; raises NotFound where there is none, or it is another's."""
    job = services().ledger.get(owner, job_id)
    if job is None:
        raise no_job()
    known_as(job=job.id)
    return job


def address(job_id: str) -> str:
    """Return a job's whole URL: clients of long-running operations join none themselves."""
    root = services().settings.public_url or request.host_url
    return f"{root.rstrip('/')}/v1/jobs/{job_id}"


def no_job() -> NotFound:
    """Return the error that says that a tenant has no such job."""
    return NotFound("no job of yours has this id", code="job_not_found")


def shown(job: Job) -> Response:
    """Return a job as its caller may poll it."""
    parts, position, queue = services(), 0, None
    if job.status is Status.QUEUED:
        position = parts.ledger.position(job)
        queue = as_queue(position, job.priority, parts.paces.of(job.model))
    told = represent(job, queue)
    response = jsonify(told)
    # Weak: a forecast that was made for the same place is as good, and must not defeat polling.
    same = json.dumps({**told, "queue": position})
    digest = hashlib.sha256(same.encode()).hexdigest()
    response.set_etag(digest[:32], weak=True)
    response.headers["Cache-Control"] = "private, no-cache"
    if not job.status.is_terminal:
        response.headers["Retry-After"] = str(min(1 + position // 50, 30))
    return response


def drafted(
    parts: Services, owner: str, body: CreateJob, idempotency_key: str | None = None
) -> Draft:
    """Return the job that a body asks for, with its pictures."""
    settings = parts.settings
    previous = _previous(parts, owner, body)
    _check_limits(body, settings, len(previous.conversation.images) if previous else 0)
    model = body.model or (previous.model if previous else settings.served_model)
    if model != settings.served_model and model not in parts.ledger.models():
        raise InvalidRequest(
            "no worker serves this model; GET /v1/models lists those that are served",
            code="model_not_found",
            param="model",
        )
    webhook = parts.receivers.accept(owner, body.webhook) if body.webhook else None
    images, pictures = parts.pictures.shown(owner, body.sources)
    conversation = _conversation(body, images)
    draft = Draft(
        tenant=owner,
        model=model,
        conversation=asked_on(previous, conversation) if previous else conversation,
        parameters=_parameters(body),
        priority=Priority(body.priority),
        deadline_ms=body.deadline_ms,
        group=body.group,
        supersede=body.supersede,
        metadata=body.metadata,
        idempotency_key=idempotency_key,
        previous=body.previous_job_id,
        cache=body.cache,
        revision=settings.revision,
        webhook=webhook,
        pictures=pictures,
    )
    fixed = f"{draft.model}|{draft.priority}|{draft.deadline_ms}|{draft.group}|"
    fixed += f"{webhook.to_json()}|" if webhook else ""
    fixed += ("" if draft.cache else "uncached|") + ("supersede|" if draft.supersede else "")
    fingerprint = hashlib.sha256((fixed + draft.request_json()).encode()).hexdigest()
    return Draft(**{**vars(draft), "fingerprint": fingerprint})


def _soonest_ms(parts: Services, draft: Draft) -> int:
    """Return in how many ms a job that has a deadline would end; 0 where that cannot be told."""
    pace = parts.paces.of(draft.model) if draft.deadline_ms else None
    if pace is None:
        return 0
    return round(pace.forecast(parts.ledger.next_position(draft), draft.priority).finish_p50)


def _previous(parts: Services, owner: str, body: CreateJob) -> Job | None:
    if body.previous_job_id is None:
        return None
    require(Scope.READ)  # an answer can be read out of what is said about it
    return answered(parts.ledger, owner, body.previous_job_id)


def _parameters(body: CreateJob) -> Parameters:
    return Parameters(
        max_new_tokens=body.max_new_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        seed=body.seed,
        stop=tuple(body.stop),
    )


def _conversation(body: CreateJob, pictures: list[ImagePart]) -> Conversation:
    if body.messages is None:
        return Conversation((Turn("user", (*pictures, body.question or "")),))
    left = iter(pictures)

    def turn(message: Message) -> Turn:
        if isinstance(message.content, str):
            return Turn(message.role, (message.content,))
        return Turn(
            message.role,
            tuple(p.text if isinstance(p, TextPart) else next(left) for p in message.content),
        )

    return Conversation(tuple(turn(message) for message in body.messages))


def _check_limits(body: CreateJob, settings: Settings, earlier_pictures: int) -> None:
    if len(body.sources) + earlier_pictures > settings.max_images:
        raise InvalidRequest(
            f"a job may carry {settings.max_images} pictures, earlier ones included; send fewer",
            code="too_many_images",
            param="images",
        )
    if body.max_new_tokens > settings.max_new_tokens_limit:
        raise InvalidRequest(
            f"max_new_tokens may be at most {settings.max_new_tokens_limit}",
            code="invalid_field",
            param="max_new_tokens",
        )
    texts = [body.question or ""] + [
        text
        for message in body.messages or ()
        for text in (
            [message.content]
            if isinstance(message.content, str)
            else [p.text for p in message.content if isinstance(p, TextPart)]
        )
    ]
    if max(map(len, texts)) > settings.max_question_chars:
        raise InvalidRequest(
            f"a text may have at most {settings.max_question_chars} characters",
            code="question_too_long",
            param="messages" if body.messages else "question",
        )


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not 1 <= len(key) <= 255:
        raise InvalidRequest(
            "an Idempotency-Key has 1 to 255 characters",
            code="invalid_field",
            param="Idempotency-Key",
        )
    return key
