"""Files and batches, as OpenAI's clients make them."""

from __future__ import annotations

from typing import Any

from api.openai.batches import BatchesQuery, CreateBatch
from api.openai.file_upload import FileFields
from api.openai.files import FilesQuery
from api.openapi.batch_answers import (
    Batch,
    BatchList,
    BatchReceipt,
    ErasedFile,
    File,
    FileList,
    FileReceipt,
)
from api.openapi.error_codes import at_their_status, together
from api.openapi.operation import Answer, Body, Errors, Form, Link, Operation, Section
from api.openapi.parameters import named, of_query
from jobs.batch import BatchStatus

_FILE_ID = "file_2c7f6a1d2b3e4f5a6b7c8d9e0f1a2b3c"
_BATCH_ID = "batch_9a0c6a1d2b3e4f5a6b7c8d9e0f1a2b3c"
_FILE = {
    "id": _FILE_ID,
    "object": "file",
    "bytes": 120_000,
    "created_at": 1764063000,
    "expires_at": 1764667800,
    "filename": "lines.jsonl",
    "purpose": "batch",
    "status": "processed",
}
_BEGUN: dict[str, Any] = {
    "id": _BATCH_ID,
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "errors": None,
    "input_file_id": _FILE_ID,
    "completion_window": "24h",
    "status": "validating",
    "output_file_id": None,
    "error_file_id": None,
    "created_at": 1764063000,
    "in_progress_at": None,
    "expires_at": 1764149400,
    **dict.fromkeys(("finalizing_at", "completed_at", "failed_at", "expired_at")),
    **dict.fromkeys(("cancelling_at", "cancelled_at")),
    "request_counts": {"total": 0, "completed": 0, "failed": 0},
    "usage": {
        "input_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 0,
    },
    "metadata": {"run": "nightly"},
}
_RUNNING = {
    **_BEGUN,
    "status": str(BatchStatus.IN_PROGRESS),
    "output_file_id": "file_3d7f6a1d2b3e4f5a6b7c8d9e0f1a2b3c",
    "in_progress_at": 1764063001,
    "request_counts": {"total": 300, "completed": 128, "failed": 0},
}
_CANCELLING = {**_RUNNING, "status": "cancelling", "cancelling_at": 1764063060}
_ASKED = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
_OF_FIELDS: Errors = {400: ("invalid_field", "missing_field", "unknown_field")}
_OF_LISTS: Errors = {400: ("invalid_field", "unknown_field", "cursor_expired")}
_NO_FILE: Errors = {404: ("file_not_found",)}
_NO_BATCH: Errors = {404: ("batch_not_found",)}
_THIS_FILE = named("file_id", "the file", _FILE_ID)
_THIS_BATCH = named("batch_id", "the batch", _BATCH_ID)


def _list(one: dict[str, Any]) -> dict[str, Any]:
    ends = {"first_id": one["id"], "last_id": one["id"]}
    return {"object": "list", "data": [one], **ends, "has_more": False}


_FILES = (
    Operation(
        "POST /v1/files",
        "create_file",
        "Send a file",
        detail="As a form. What is read of the file goes straight to where it is kept.",
        body=Body(
            FileFields,
            {},
            Form(
                instead_of="expires_after",
                many=False,
                example={"purpose": "batch", "file": "@lines.jsonl"},
                more={
                    "expires_after[anchor]": {"const": "created_at", "type": "string"},
                    "expires_after[seconds]": {
                        "type": "integer",
                        "minimum": 3_600,
                        "maximum": 2_592_000,
                    },
                },
                needs={
                    "required": ["file", "purpose"],
                    "dependentRequired": {
                        "expires_after[anchor]": ["expires_after[seconds]"],
                        "expires_after[seconds]": ["expires_after[anchor]"],
                    },
                },
                file=("file", "application/jsonl", "a request on each line, as JSON"),
            ),
            only_form=True,
        ),
        answers=(
            Answer(
                200,
                "kept until `expires_at`",
                File,
                _FILE,
                links=(
                    Link("create_batch", {}, {**_ASKED, "input_file_id": "$response.body#/id"}),
                    Link("get_file", {"file_id": "$response.body#/id"}),
                    Link("get_file_content", {"file_id": "$response.body#/id"}),
                    Link("erase_file", {"file_id": "$response.body#/id"}),
                ),
                receipt=FileReceipt,
            ),
        ),
        errors=together(_OF_FIELDS, at_their_status("file_too_large", "files_full", "ledger_full")),
    ),
    Operation(
        "GET /v1/files",
        "list_files",
        "List files",
        parameters=of_query(FilesQuery, after=_FILE_ID, limit=100, order="desc", purpose="batch"),
        answers=(Answer(200, "a page of files", FileList, _list(_FILE)),),
        errors=_OF_LISTS,
    ),
    Operation(
        "GET /v1/files/{file_id}",
        "get_file",
        "Look at a file",
        parameters=(_THIS_FILE,),
        answers=(Answer(200, "what is known of it", File, _FILE),),
        errors=_NO_FILE,
    ),
    Operation(
        "GET /v1/files/{file_id}/content",
        "get_file_content",
        "Fetch a file",
        detail="As it is now: what a batch writes can be fetched while it runs.",
        parameters=(_THIS_FILE,),
        answers=(
            Answer(
                200, "its bytes", None, '{"custom_id": "a1", ...}\n', "application/octet-stream"
            ),
        ),
        errors=_NO_FILE,
    ),
    Operation(
        "DELETE /v1/files/{file_id}",
        "erase_file",
        "Erase a file",
        parameters=(_THIS_FILE,),
        answers=(
            Answer(200, "erased", ErasedFile, {"id": _FILE_ID, "object": "file", "deleted": True}),
        ),
        errors=together(_NO_FILE, at_their_status("file_in_use")),
    ),
)
_BATCHES = (
    Operation(
        "POST /v1/batches",
        "create_batch",
        "Begin a batch",
        detail="Its input is looked through first; then each line is answered.",
        body=Body(
            CreateBatch,
            {"input_file_id": _FILE_ID, **_ASKED, "metadata": {"run": "nightly"}},
        ),
        answers=(
            Answer(
                200,
                "begun",
                Batch,
                _BEGUN,
                links=(
                    Link("get_batch", {"batch_id": "$response.body#/id"}),
                    Link("cancel_batch", {"batch_id": "$response.body#/id"}),
                    Link("erase_batch", {"batch_id": "$response.body#/id"}),
                ),
                receipt=BatchReceipt,
            ),
        ),
        errors=together(
            _OF_FIELDS,
            {400: ("file_not_found",)},
            at_their_status("too_many_batches", "ledger_full"),
        ),
    ),
    Operation(
        "GET /v1/batches",
        "list_batches",
        "List batches",
        detail="Newest first.",
        parameters=of_query(BatchesQuery, after=_BATCH_ID, limit=20),
        answers=(Answer(200, "a page of batches", BatchList, _list(_RUNNING)),),
        errors=_OF_LISTS,
    ),
    Operation(
        "GET /v1/batches/{batch_id}",
        "get_batch",
        "Look at a batch",
        parameters=(_THIS_BATCH,),
        answers=(Answer(200, "the batch as it stands", Batch, _RUNNING),),
        errors=_NO_BATCH,
    ),
    Operation(
        "POST /v1/batches/{batch_id}/cancel",
        "cancel_batch",
        "Cancel a batch",
        detail="What was answered is kept.",
        parameters=(_THIS_BATCH,),
        answers=(
            Answer(200, "it is being stopped, or is", Batch, _CANCELLING, receipt=BatchReceipt),
        ),
        errors=together(_NO_BATCH, at_their_status("batch_not_cancellable")),
    ),
    Operation(
        "DELETE /v1/batches/{batch_id}",
        "erase_batch",
        "Erase a batch",
        detail="One that has ended, with the files that it wrote; its input is a file of yours.",
        parameters=(_THIS_BATCH,),
        answers=(Answer(204, "erased"),),
        errors=together(_NO_BATCH, at_their_status("batch_open")),
    ),
)

SECTION = Section(
    "Batches",
    "Up to 50,000 chat completions, from a file into a file.",
    (*_FILES, *_BATCHES),
)
