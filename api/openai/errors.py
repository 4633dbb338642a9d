"""The statuses of errors on routes that OpenAI's clients call."""

from __future__ import annotations

from jobs.errors import JobsError


def as_clients_know_it(error: JobsError) -> JobsError:
    """Return an error with the status that OpenAI's clients have a class for."""
    if error.status == 422:
        error.status = 404 if error.code == "model_not_found" else 400
    return error
