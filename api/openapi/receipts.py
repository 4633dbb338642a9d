"""What keys without ``read`` are shown: ids and states, and nothing that anybody said."""

from __future__ import annotations

from api.openapi.answers import JobId, Listed, Moment, Shown
from jobs.job import Status
from jobs.webhook import Told


class JobReceipt(Shown):
    """What a key without `read` is shown of a job."""

    id: JobId
    status: Status
    cancel_requested_at: Moment | None


class DeliveryReceipt(Shown):
    """What a key without `read` is shown of a delivery."""

    id: str
    """the `webhook-id`"""
    status: Told


class DeliveryReceiptList(Listed):
    """What was told of a job, to a key without `read`."""

    data: list[DeliveryReceipt]
