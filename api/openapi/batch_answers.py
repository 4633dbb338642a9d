"""What the API answers with on the routes of files and batches, in OpenAI's shapes."""

from __future__ import annotations

from typing import Any, Literal

from api.openapi.answers import Count, Shown
from jobs.batch import BatchStatus


class FileReceipt(Shown):
    """What a key without `read` is shown of a file; times in seconds since the epoch."""

    id: str
    object: Literal["file"]
    bytes: Count
    created_at: int
    expires_at: int
    """when it goes"""
    purpose: Literal["batch", "batch_output"]
    """`batch_output`: a batch wrote it"""
    status: Literal["processed"]


class File(FileReceipt):
    """A file; times in seconds since the epoch."""

    filename: str


class FileList(Shown):
    """A page of files."""

    object: Literal["list"]
    data: list[File]
    first_id: str | None = None
    last_id: str | None = None
    """pass it as `after` for what comes behind"""
    has_more: bool


class ErasedFile(Shown):
    """A file that is no more."""

    id: str
    object: Literal["file"]
    deleted: Literal[True]


class BatchProblem(Shown):
    """Something for which a batch cannot be run."""

    code: str
    message: str
    param: str | None
    line: int | None
    """the number of the line, from 1 on"""


class BatchProblems(Shown):
    """Why a batch cannot be run."""

    object: Literal["list"]
    data: list[BatchProblem]


class RequestCounts(Shown):
    """How many lines there are, and in which file they are."""

    total: Count
    completed: Count
    """those in the output file"""
    failed: Count
    """those in the error file"""


class BatchUsage(Shown):
    """Tokens of all lines that were answered."""

    input_tokens: Count
    input_tokens_details: dict[str, Any]
    output_tokens: Count
    output_tokens_details: dict[str, Any]
    total_tokens: Count


class Batch(Shown):
    """A batch; times in seconds since the epoch."""

    id: str
    object: Literal["batch"]
    endpoint: str
    errors: BatchProblems | None
    """where it `failed`: up to 100 of its problems"""
    input_file_id: str
    completion_window: str
    status: BatchStatus
    output_file_id: str | None
    """as soon as a line is in it"""
    error_file_id: str | None
    """as soon as a line is in it"""
    created_at: int
    in_progress_at: int | None
    expires_at: int
    """when what is left of it is run no more"""
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: BatchUsage
    metadata: dict[str, str] | None


class BatchReceipt(Shown):
    """What a key without `read` is shown of a batch; times in seconds since the epoch."""

    id: str
    object: Literal["batch"]
    endpoint: str
    input_file_id: str
    completion_window: str
    status: BatchStatus
    created_at: int
    expires_at: int
    cancelling_at: int | None
    cancelled_at: int | None


class BatchList(Shown):
    """A page of batches, newest first."""

    object: Literal["list"]
    data: list[Batch]
    first_id: str | None = None
    last_id: str | None = None
    """pass it as `after` for what comes behind"""
    has_more: bool
