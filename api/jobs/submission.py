"""From a request's body to the job that it asks for."""

from __future__ import annotations

import hashlib

from api.http.auth import require
from api.jobs.follow_ups import answered, asked_on
from api.jobs.request import CreateJob, Message, TextPart
from api.services import Services
from jobs.errors import InvalidRequest
from jobs.job import Draft, Job, Priority
from jobs.keys import Scope
from jobs.request import Conversation, ImagePart, Parameters, Turn
from jobs.settings import Settings


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
