"""Batches, as OpenAI's clients make and follow them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Blueprint, Response, request
from pydantic import Field, StringConstraints

from api.http.auth import may, tenant
from api.http.errors import problem
from api.http.queries import Query, read_query
from api.http.responses import private
from api.jobs.request import Fields, Name, read_json
from api.openai.errors import as_clients_know_it
from api.openai.file_upload import ExpiresAfter
from api.openai.files import listed
from api.services import services
from jobs.batch import Batch, BatchStatus
from jobs.errors import JobsError, NotFound
from jobs.keys import Scope

bp = Blueprint("batches", __name__, url_prefix="/v1/batches")

RECEIPT = (
    *("id", "object", "endpoint", "input_file_id", "completion_window", "status"),
    *("created_at", "expires_at", "cancelling_at", "cancelled_at"),
)
_Key = Annotated[str, StringConstraints(max_length=64)]
_Value = Annotated[str, StringConstraints(max_length=512)]


class CreateBatch(Fields):
    """The body of ``POST /v1/batches``."""

    input_file_id: Name
    endpoint: Literal["/v1/chat/completions"]
    completion_window: Literal["24h"]
    metadata: Annotated[dict[_Key, _Value], Field(max_length=16)] | None = None
    output_expires_after: ExpiresAfter | None = None


class BatchesQuery(Query):
    """Which batches to list."""

    after: str | None = None
    limit: int = Field(default=20, ge=1, le=100)


@bp.post("")
def create_batch() -> Response:
    """Begin a batch over a file; it is looked through first."""
    asked = read_json(CreateBatch, request)
    parts = services()
    longest = parts.files.life_ms
    wanted = asked.output_expires_after
    batch = parts.batches.begin(
        tenant(),
        asked.input_file_id,
        endpoint=asked.endpoint,
        window=asked.completion_window,
        metadata=asked.metadata,
        keep_ms=min(wanted.seconds * 1000, longest) if wanted else longest,
    )
    return _told(batch)


@bp.get("")
def list_batches() -> Response:
    """List batches, newest first."""
    query = read_query(BatchesQuery, request.args)
    page = services().batches.page(tenant(), limit=query.limit, after=query.after)
    return listed(page and ([shown(batch) for batch in page[0]], page[1]))


@bp.get("/<batch_id>")
def get_batch(batch_id: str) -> Response:
    """Show a batch as far as it is."""
    batch = services().batches.get(tenant(), batch_id)
    if batch is None:
        raise NotFound("no batch of yours has this id", code="batch_not_found")
    return private(shown(batch))


@bp.post("/<batch_id>/cancel")
def cancel_batch(batch_id: str) -> Response:
    """Stop a batch; what has been answered is kept."""
    return _told(services().batches.cancel(tenant(), batch_id))


@bp.delete("/<batch_id>")
def erase_batch(batch_id: str) -> Response:
    """Leave nothing of a batch that has ended, nor of what it wrote."""
    services().batches.erase(tenant(), batch_id)
    return Response(status=204)


@bp.errorhandler(JobsError)
def _as_openai_says_it(error: JobsError) -> Response:
    response = problem(as_clients_know_it(error))
    if error.status == 409:
        response.headers["x-should-retry"] = "false"  # it is the same in a few seconds
    return response


def _told(batch: Batch) -> Response:
    """Return a batch to who made or stopped it; to a key that may not read, what OpenAI demands."""
    told = shown(batch)
    return private(told if may(Scope.READ) else {name: told[name] for name in RECEIPT})


def shown(batch: Batch) -> dict[str, Any]:
    """Return a batch in OpenAI's shape; times in seconds since the epoch."""

    def at(status: BatchStatus) -> int | None:
        time = batch.times.get(status)
        return time // 1000 if time is not None else None

    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": {"object": "list", "data": list(batch.problems)} if batch.problems else None,
        "input_file_id": batch.input_file,
        "completion_window": batch.window,
        "status": batch.status,
        "output_file_id": batch.output_file if batch.completed else None,
        "error_file_id": batch.error_file if batch.failed else None,
        "created_at": batch.created_at // 1000,
        "in_progress_at": at(BatchStatus.IN_PROGRESS),
        "expires_at": batch.expires_at // 1000,
        "finalizing_at": at(BatchStatus.FINALIZING),
        "completed_at": at(BatchStatus.COMPLETED),
        "failed_at": at(BatchStatus.FAILED),
        "expired_at": at(BatchStatus.EXPIRED),
        "cancelling_at": at(BatchStatus.CANCELLING),
        "cancelled_at": at(BatchStatus.CANCELLED),
        "request_counts": {
            "total": batch.total or 0,
            "completed": batch.completed,
            "failed": batch.failed,
        },
        "usage": _usage(batch),
        "metadata": batch.metadata,
    }


def _usage(batch: Batch) -> dict[str, Any]:
    asked, said = batch.tokens["prompt_tokens"], batch.tokens["completion_tokens"]
    return {
        "input_tokens": asked,
        "input_tokens_details": {"cached_tokens": batch.tokens["cached_tokens"]},
        "output_tokens": said,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": asked + said,
    }
