"""What is answered of a group whose jobs are stopped or erased."""

from __future__ import annotations

from typing import Literal

from api.openapi.answers import Count, Job, Listed, Shown
from api.openapi.receipts import JobReceipt


class GroupJobs(Listed):
    """Jobs of a group that were stopped, or had ended: newest first, up to 1,000 a call."""

    data: list[Job]
    remaining: Count
    """jobs that the next call finds, with `next` as `after`"""


class GroupReceipts(Listed):
    """What a key without `read` is shown of jobs that were stopped."""

    data: list[JobReceipt]
    remaining: Count


class ErasedGroup(Shown):
    """A group of which a call has erased the newest 1,000 jobs."""

    object: Literal["group"]
    erased: Count
    remaining: Count
    """jobs that are there still"""
