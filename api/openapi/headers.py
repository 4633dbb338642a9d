"""Headers of answers: what each means."""

from __future__ import annotations

from dataclasses import dataclass

from api.openapi.examples import JOB_ID


@dataclass(frozen=True)
class Header:
    """A header of an answer; ``always`` where no answer that names it is without."""

    meaning: str
    example: str
    always: bool = True


HEADERS = {
    "Location": Header("the path of what was made", f"/v1/jobs/{JOB_ID}"),
    "Operation-Location": Header(
        "the URL of the job",
        f"https://answers.example.com/v1/jobs/{JOB_ID}",
    ),
    "Retry-After": Header("seconds until it is worth asking again", "1", always=False),
    "ETag": Header("changes when the job does; send it as `If-None-Match`", 'W/"9b2f6c01"'),
    "Preference-Applied": Header("how long the answer was held", "wait=30", always=False),
    "RateLimit-Policy": Header(
        "your share of requests: so many in so long", '"requests";q=600;w=60'
    ),
    "RateLimit": Header("what is left of it, and when it is whole", '"requests";r=598;t=1'),
    "WWW-Authenticate": Header("how to send a key", "Bearer"),
}
SHARE = ("RateLimit-Policy", "RateLimit")
"""Of every answer to a valid key."""
