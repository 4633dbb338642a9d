"""A tenant's share of requests: spent before a view runs, told with every answer."""

from __future__ import annotations

import math

from flask import Flask, Response, current_app, g

from jobs.errors import RateLimited
from jobs.keys import Key, Keys
from jobs.rates import WINDOW_S, Rates, Share


def init_app(app: Flask) -> None:
    """Have every answer to a known tenant say what it may still send."""
    app.after_request(_tell)


def admit(key: str) -> tuple[Key, Share]:
    """Return whose key it is, and what its tenant may still send; raises Unauthorized."""
    keys: Keys = current_app.extensions["keys"]
    return _rates().admit(keys, key)


def spend(tenant: str) -> None:
    """Count the request as its tenant's; raises RateLimited where none is left."""
    hold_to(_rates().spend(tenant))


def hold_to(share: Share) -> None:
    """Have the answer say what is left; raises RateLimited where the request is one too many."""
    g.share = share
    if not share.admitted:
        raise RateLimited(
            f"{share.limit} requests a minute are yours; go on after Retry-After",
            retry_after=_seconds(share.wait),
        )


def _tell(response: Response) -> Response:
    """Add the headers of the IETF's draft (draft-ietf-httpapi-ratelimit-headers-10)."""
    share: Share | None = g.get("share")
    if share is not None:
        response.headers["RateLimit-Policy"] = f'"requests";q={share.limit};w={WINDOW_S}'
        left, reset = share.left, _seconds(share.reset)
        response.headers["RateLimit"] = f'"requests";r={left};t={reset}'
    return response


def _rates() -> Rates:
    rates: Rates = current_app.extensions["rates"]
    return rates


def _seconds(milliseconds: int) -> int:
    return math.ceil(milliseconds / 1000)
