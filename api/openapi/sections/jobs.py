"""A job: asked, followed, stopped and erased."""

from __future__ import annotations

from api.jobs.request import CreateJob
from api.openapi import examples
from api.openapi.answers import Job
from api.openapi.error_codes import at_their_status
from api.openapi.operation import EVENTS, Answer, Body, Form, Link, Operation, Section
from api.openapi.parameters import JOB_ID, PREFER, header
from api.openapi.receipts import JobReceipt
from api.openapi.schemas import SHOWN
from api.openapi.streams import StatusEvent, TokenEvent

_DETAIL = {"enum": ["auto", "high"], "description": "the `detail` of all pictures"}
_ITS_ID = {"job_id": "$response.body#/id"}
_LINKS = tuple(
    Link(name, _ITS_ID)
    for name in (
        "get_job",
        "stream_job",
        "cancel_job",
        "list_deliveries",
        "send_again",
        "erase_job",
    )
)
_GROUP_LINKS = (
    Link("list_jobs", {"group": "$response.body#/group"}),
    Link("cancel_group", {"name": "$response.body#/group"}),
    Link("erase_group", {"name": "$response.body#/group"}),
)
_EXAMPLE = {
    "question": examples.QUESTION,
    "images": [{"data": examples.PICTURE}],
    "group": examples.GROUP,
    "metadata": {"customer": 4711},
}
_FORM_NEEDS = {
    "anyOf": [
        {
            "required": ["question"],
            "not": {"required": ["messages"]},
            "anyOf": [
                {"required": ["image"], "properties": {"image": {"minItems": 1}}},
                {"required": ["previous_job_id"]},
            ],
        },
        {
            "required": ["messages"],
            "properties": {"messages": SHOWN, "image": {"maxItems": 0}},
            "not": {"anyOf": [{"required": ["question"]}, {"required": ["previous_job_id"]}]},
        },
    ],
    "dependentRequired": {"supersede": ["group"]},
}
PICTURE_ERRORS = (
    *("invalid_base64", "image_empty", "image_too_many_bytes", "image_unsupported"),
    *("image_too_large", "image_shape", "image_truncated", "image_corrupt", "image_timeout"),
    *("too_many_uploads", "images_busy", "tenant_images_full", "ledger_full"),
)
JOB_ERRORS = (
    "paused",
    *("conflicting_fields", "question_missing", "question_too_long"),
    *("image_missing", "too_many_images", *PICTURE_ERRORS),
    *("image_url_off", "image_url_invalid", "image_url_forbidden", "image_url_timeout"),
    *("image_url_failed", "image_expired", "model_not_found"),
    *("idempotency_mismatch", "tenant_queue_full", "paused"),
)
"""Of whatever makes a job."""
RETRY_ERRORS = at_their_status(
    *("job_not_found", "job_not_failed", "image_expired", "tenant_queue_full", "paused"),
    "ledger_full",
)
"""Of whatever asks a job again."""
_ONLY_HERE = (
    *("previous_job_open", "previous_job_not_found", "previous_job_unanswered"),
    *("deadline_unmeetable", "webhook_url_invalid", "webhook_url_forbidden"),
    "webhook_secret_missing",
)
IDEMPOTENCY_KEY = header(
    "Idempotency-Key",
    "the same key and body return the first job",
    "ticket-123-1",
    minLength=1,
    maxLength=255,
)

SECTION = Section(
    "Jobs",
    "A job is a question about pictures. Submit it, then ask for it until it has ended, follow its "
    "stream, or be told by webhook.",
    (
        Operation(
            "POST /v1/jobs",
            "create_job",
            "Submit a job",
            detail="As JSON, or as a form with the pictures as file parts named `image` and the "
            "other fields as parts (`metadata`, `messages` and `webhook` as JSON text).",
            parameters=(IDEMPOTENCY_KEY, PREFER),
            body=Body(
                CreateJob,
                _EXAMPLE,
                Form(
                    instead_of="images",
                    many=True,
                    example={"question": examples.QUESTION, "image": "@panel.png"},
                    texts=("metadata", "messages", "webhook"),
                    more={"detail": _DETAIL},
                    needs=_FORM_NEEDS,
                ),
            ),
            answers=(
                Answer(
                    202,
                    "accepted: the job is on disk",
                    Job,
                    examples.QUEUED,
                    headers=("Location", "Operation-Location", "Retry-After", "Preference-Applied"),
                    links=(*_LINKS, *_GROUP_LINKS),
                    receipt=JobReceipt,
                ),
                Answer(
                    200,
                    "with `Prefer: wait=N`: the job has ended in time",
                    Job,
                    examples.SUCCEEDED,
                    headers=("Location", "Operation-Location", "Preference-Applied"),
                    links=(*_LINKS, *_GROUP_LINKS),
                    receipt=JobReceipt,
                ),
            ),
            errors={
                **at_their_status(*JOB_ERRORS, *_ONLY_HERE),
                422: (
                    *at_their_status(*JOB_ERRORS, *_ONLY_HERE)[422],
                    *("image_not_found", "malformed_json"),
                ),
            },
        ),
        Operation(
            "GET /v1/jobs/{job_id}",
            "get_job",
            "Look at a job",
            parameters=(
                JOB_ID,
                PREFER,
                header("If-None-Match", "the `ETag` of the job as you have it", 'W/"9b2f6c01"'),
            ),
            answers=(
                Answer(
                    200,
                    "the job as it stands",
                    Job,
                    examples.SUCCEEDED,
                    headers=("ETag", "Retry-After"),
                ),
                Answer(304, "you have it as it is", headers=("ETag", "Retry-After")),
            ),
            errors=at_their_status("job_not_found"),
        ),
        Operation(
            "POST /v1/jobs/{job_id}/retry",
            "retry_job",
            "Ask a failed job again",
            detail="Also one that was canceled. There is one new job, however often that is asked "
            "for; `retry_of` in its metadata is the old one, which stays as it ended.",
            parameters=(JOB_ID,),
            answers=(
                Answer(
                    202,
                    "the new job",
                    Job,
                    examples.QUEUED,
                    headers=("Location", "ETag", "Retry-After"),
                    links=_LINKS,
                    receipt=JobReceipt,
                ),
            ),
            errors=RETRY_ERRORS,
        ),
        Operation(
            "GET /v1/jobs/{job_id}/stream",
            "stream_job",
            "Follow a job",
            detail="Server-sent events, at any time of a job's life: `status` where it stands, "
            "`token` the next piece of the answer, `done` the job. Each has an `id`.",
            parameters=(
                JOB_ID,
                header("Last-Event-ID", "the last event that you have", "done"),
            ),
            answers=(
                Answer(
                    200,
                    "events until the job has ended",
                    None,
                    examples.STREAM,
                    EVENTS,
                    events=(("status", StatusEvent), ("token", TokenEvent), ("done", Job)),
                ),
                Answer(204, "you have been told all"),
            ),
            errors=at_their_status(
                *("job_not_found", "invalid_field", "too_many_connections", "connections_full")
            ),
        ),
        Operation(
            "POST /v1/jobs/{job_id}/cancel",
            "cancel_job",
            "Stop a job",
            detail="Queued or running; one that has ended stays as it is.",
            parameters=(JOB_ID,),
            answers=(
                Answer(
                    200,
                    "the job, which carries the receipt; `Retry-After` while its worker stops",
                    Job,
                    examples.CANCELED,
                    headers=("ETag", "Retry-After"),
                    receipt=JobReceipt,
                ),
            ),
            errors=at_their_status("job_not_found"),
        ),
        Operation(
            "DELETE /v1/jobs/{job_id}",
            "erase_job",
            "Erase a job",
            detail="In any state, and leaves nothing of it.",
            parameters=(JOB_ID,),
            answers=(Answer(204, "erased"),),
            errors=at_their_status("job_not_found"),
        ),
    ),
)
