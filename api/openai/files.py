"""Files, as OpenAI's clients send and fetch them."""

from __future__ import annotations

from typing import Any, Literal

from flask import Blueprint, Response, request
from pydantic import Field

from api.http.auth import may, tenant
from api.http.errors import problem
from api.http.queries import Query, read_query
from api.http.responses import private
from api.openai.errors import as_clients_know_it
from api.openai.file_upload import read_file_form
from api.services import services
from jobs.errors import InvalidRequest, JobsError, NotFound
from jobs.files import File
from jobs.keys import Scope

bp = Blueprint("files", __name__, url_prefix="/v1/files")


class FilesQuery(Query):
    """Which files to list."""

    after: str | None = None
    limit: int = Field(default=10_000, ge=1, le=10_000)
    order: Literal["asc", "desc"] = "desc"
    purpose: str | None = None


@bp.post("")
def create_file() -> Response:
    """Keep a file that comes by a form, of which no more than a part is held in memory."""
    files = services().files
    intake = files.begin(tenant())
    try:
        form = read_file_form(request, intake, files.most_bytes)
    except BaseException:
        intake.drop()
        raise
    wanted = form.fields.expires_after
    file = intake.keep(form.fields.purpose, form.name, wanted.seconds * 1000 if wanted else None)
    return private(shown(file) if may(Scope.READ) else _receipt(file))


@bp.get("")
def list_files() -> Response:
    """List files, newest first unless the other order is asked for."""
    query = read_query(FilesQuery, request.args)
    page = services().files.page(
        tenant(),
        limit=query.limit,
        after=query.after,
        ascending=query.order == "asc",
        purpose=query.purpose,
    )
    return listed(page and ([shown(file) for file in page[0]], page[1]))


@bp.get("/<file_id>")
def get_file(file_id: str) -> Response:
    """Show what is known of a file."""
    return private(shown(_own(file_id)))


@bp.get("/<file_id>/content")
def get_content(file_id: str) -> Response:
    """Send a file as it is now, a part at a time."""
    file = _own(file_id)
    response = Response(services().files.content(file), mimetype="application/octet-stream")
    response.content_length = file.size
    response.headers["Content-Disposition"] = f'attachment; filename="{file.id}.jsonl"'
    response.headers["Cache-Control"] = "private, no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


@bp.delete("/<file_id>")
def erase_file(file_id: str) -> Response:
    """Leave nothing of a file."""
    if not services().files.erase(tenant(), file_id):
        raise _no_file()
    return private({"id": file_id, "object": "file", "deleted": True})


@bp.errorhandler(JobsError)
def _as_openai_says_it(error: JobsError) -> Response:
    return problem(as_clients_know_it(error))


def shown(file: File) -> dict[str, Any]:
    """Return a file in OpenAI's shape."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": file.created_at // 1000,
        "expires_at": file.expires_at // 1000,
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
    }


def _receipt(file: File) -> dict[str, Any]:
    """Return what a key may know of a file that it may not read: not its name."""
    return {name: value for name, value in shown(file).items() if name != "filename"}


def listed(page: tuple[list[dict[str, Any]], bool] | None) -> Response:
    """Return a page of a list in OpenAI's shape; raises InvalidRequest where there is none."""
    if page is None:
        raise InvalidRequest(
            "what this cursor names is no longer kept; list from the start",
            code="cursor_expired",
            param="after",
        )
    data, has_more = page
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {}
    return private({"object": "list", "data": data, **ends, "has_more": has_more})


def _own(file_id: str) -> File:
    file = services().files.get(tenant(), file_id)
    if file is None:
        raise _no_file()
    return file


def _no_file() -> NotFound:
    return NotFound("no file of yours has this id", code="file_not_found", param="file_id")
