"""llava-jobs, as the receiver uses it: one job for a comment, whose end comes by webhook."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import httpx

from examples.helpdesk.comments import Comment

_FOR_GOOD = frozenset({400, 413, 415, 422})
"""Statuses of what would be refused again: no picture, or too large a one."""


class Jobs:
    """An API with a key; ``answers`` is the URL at which it tells us of the end of a job.

    All methods raise httpx.HTTPError.
    """

    def __init__(self, url: str, key: str, answers: str) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=10)
        self._answers = answers

    def submit(self, helpdesk: str, comment: Comment, question: str) -> str | None:
        """Ask about a comment's pictures; the job's id, the same for the same comment.

        None where llava-jobs cannot take these pictures.
        """
        place = comment.place
        job = {
            "question": question,
            # The type is not looked at: llava-jobs sees for itself what a picture is.
            "images": [
                {"data": f"data:image/png;base64,{b64encode(picture).decode()}"}
                for picture in comment.pictures
            ],
            "group": f"{helpdesk}-{place.ticket}",
            "metadata": {"helpdesk": helpdesk, "ticket": place.ticket, "comment": place.comment},
            "webhook": {"url": self._answers},
        }
        key = f"{helpdesk}-{place.ticket}-{place.comment}"
        response = self._http.post("/v1/jobs", json=job, headers={"Idempotency-Key": key})
        if response.status_code in _FOR_GOOD:
            return None
        response.raise_for_status()
        return str(response.json()["id"])

    def get(self, job_id: str) -> dict[str, Any] | None:
        """Return a job; None where it was erased meanwhile."""
        response = self._http.get(f"/v1/jobs/{job_id}")
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        response.raise_for_status()
        job: dict[str, Any] = response.json()
        return job
