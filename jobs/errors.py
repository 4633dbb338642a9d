"""Errors as data: every failure a caller can meet has a stable code, a status and a cure."""

from __future__ import annotations

from typing import Any


class JobsError(Exception):
    """Raised when a request or a job cannot go on, for a reason its caller can be told.

    ``code`` is stable and documented in docs/api.md; ``status`` is the HTTP status that tells it;
    ``param`` names the field at fault; ``retry_after`` is in seconds. The message gives cause and
    cure, and holds nothing of a question, an answer or a picture.
    """

    code = "internal_error"
    status = 500
    title = "Something went wrong on our side"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code
        self.param = param
        self.retry_after = retry_after


class InvalidRequest(JobsError):
    """Raised when a field of a request is missing, unknown or out of range."""

    code = "invalid_request"
    status = 422
    title = "The request cannot be taken as it is"


class MalformedRequest(InvalidRequest):
    """Raised when a request body cannot be read at all."""

    code = "malformed_request"
    status = 400
    title = "The request cannot be read"


class UnsupportedMediaType(InvalidRequest):
    """Raised when a request body is of a kind that is not read here."""

    code = "unsupported_media_type"
    status = 415
    title = "The request is of a media type that is not read here"


class Unauthorized(JobsError):
    """Raised when a request carries no key, or one that is unknown, revoked or expired."""

    code = "invalid_api_key"
    status = 401
    title = "No valid API key"


class Forbidden(JobsError):
    """Raised when a key has not the scope that a request needs."""

    code = "insufficient_scope"
    status = 403
    title = "This key may not do that"


class NotFound(JobsError):
    """Raised when a thing does not exist, or belongs to another tenant."""

    code = "not_found"
    status = 404
    title = "Not found"


class PreviousJobOpen(JobsError):
    """Raised when a job is asked on from before it has ended."""

    code = "previous_job_open"
    status = 409
    title = "The job before is not answered yet"


class Conflict(JobsError):
    """Raised when what is asked cannot be done to a thing as it stands."""

    code = "conflict"
    status = 409
    title = "This cannot be done as things stand"


class IdempotencyMismatch(JobsError):
    """Raised when an idempotency key comes back with another body."""

    code = "idempotency_mismatch"
    status = 422
    title = "This idempotency key was used with another request"


class RateLimited(JobsError):
    """Raised when a tenant has sent as many requests as it may for now."""

    code = "rate_limited"
    status = 429
    title = "Too many requests"


class TenantQueueFull(JobsError):
    """Raised when a tenant has as many queued jobs as it may have."""

    code = "tenant_queue_full"
    status = 429
    title = "Your queue is full"


class TenantImagesFull(JobsError):
    """Raised when a tenant's pictures have as many bytes as they may have."""

    code = "tenant_images_full"
    status = 429
    title = "Your pictures take all of their room"


class DeadlineUnmeetable(JobsError):
    """Raised when a job would be answered after its deadline, as the queue stands."""

    code = "deadline_unmeetable"
    status = 422
    title = "The deadline cannot be met"


class TooManyConnections(JobsError):
    """Raised when a tenant holds as many connections open to one API process as it may."""

    code = "too_many_connections"
    status = 429
    title = "Too many of your connections are open"


class ConnectionsFull(JobsError):
    """Raised when an API process holds as many connections open as it can."""

    code = "connections_full"
    status = 503
    title = "Too many connections are open"


class TooManyBodies(JobsError):
    """Raised when an API process reads as many bytes of a tenant's requests as it may."""

    code = "too_many_bodies"
    status = 429
    title = "Too many of your long requests are being read"


class BodiesFull(JobsError):
    """Raised when an API process reads as many bytes of requests as it can hold."""

    code = "bodies_full"
    status = 503
    title = "Too many long requests are being read"


class IntakePaused(JobsError):
    """Raised when whoever runs this has paused the intake of jobs, of a tenant or of all."""

    code = "paused"
    status = 503
    title = "No jobs are taken now"


class LedgerFull(JobsError):
    """Raised when the ledger holds as many queued jobs, or bytes, as it may hold."""

    code = "ledger_full"
    status = 503
    title = "The queue is full"


class StoreUnavailable(JobsError):
    """Raised when the store cannot be reached, or cannot promise that a job is on disk."""

    code = "store_unavailable"
    status = 503
    title = "The store is not available"


class TooManyBatches(JobsError):
    """Raised when a tenant has as many batches under way as it may have."""

    code = "too_many_batches"
    status = 429
    title = "Too many of your batches are under way"


class BatchElsewhere(JobsError):
    """Raised where a batch is not, or no more, at the line that is to become a job."""

    code = "batch_elsewhere"
    status = 409
    title = "The batch is elsewhere"


class FileTooLarge(InvalidRequest):
    """Raised when a file has more bytes than it may have."""

    code = "file_too_large"
    status = 413
    title = "The file is too large"


class ImageExpired(InvalidRequest):
    """Raised when a job's picture is no longer kept."""

    code = "image_expired"
    title = "A picture is no longer kept"


class ConfigurationError(JobsError):
    """Raised when a setting, a file or the store is set up in a way that cannot work."""

    code = "configuration_error"
    title = "The configuration cannot work"


def as_data(code: str, message: str) -> dict[str, Any]:
    """Return a failure as a job stores it: ``{"code": ..., "message": ...}``."""
    return {"code": code, "message": message}
