"""Why the ledger did not accept a job, as its submitter is told."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.errors import (
    BatchElsewhere,
    DeadlineUnmeetable,
    IdempotencyMismatch,
    ImageExpired,
    IntakePaused,
    JobsError,
    LedgerFull,
    TenantImagesFull,
    TenantQueueFull,
)


def refusal(reply: Sequence[bytes]) -> JobsError | None:
    """Return the error that a script's reply stands for; None where it did what was wanted."""
    verdict, *told = (part.decode() if isinstance(part, bytes) else "" for part in reply)
    if verdict == "mismatch":
        return IdempotencyMismatch(
            "this Idempotency-Key came with another request before; use a new key",
            param="Idempotency-Key",
        )
    if verdict == "paused":
        return IntakePaused(
            "no jobs are taken at present, and those that were are answered; submit again later",
            retry_after=30,
        )
    if verdict == "tenant_full":
        return TenantQueueFull(
            f"as many of your jobs as may ({told[0]}) are waiting; submit again when some are done",
            retry_after=10,
        )
    if verdict == "full":
        return LedgerFull("too many jobs are waiting; submit again later", retry_after=30)
    if verdict == "image_missing":
        return ImageExpired("a picture is not kept; send it again", param="images")
    if verdict == "images_full":
        return TenantImagesFull(
            f"your pictures may have {told[0]} bytes together, and have {told[1]}; erase jobs and "
            "uploads, or submit again when some are no longer kept",
            param="images",
            retry_after=60,
        )
    if verdict == "batch_elsewhere":
        return BatchElsewhere("this line of its batch was taken already, or the batch was stopped")
    if verdict == "too_late":
        return DeadlineUnmeetable(
            f"as the queue stands this job would be answered in about {int(told[0]) / 1000:.1f} s; "
            "allow more time, or raise its priority",
            param="deadline",
        )
    return None
