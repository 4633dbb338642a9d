"""The pictures of a comment, fetched from the helpdesk within limits."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import httpx

MOST_PICTURES = 8
"""As many as llava-jobs takes in one job, unless it was set up otherwise."""
MOST_BYTES = 10 * 1024 * 1024
MOST_SECONDS = 4
"""For all of them: Chatwoot waits for 5 seconds, Zendesk for 12."""


def fetched(origin: str, urls: Iterable[str], auth: httpx.Auth | None = None) -> tuple[bytes, ...]:
    """Return the pictures that ``urls`` show; those that are too large are left out.

    Only URLs of the helpdesk itself are called, and only it sees ``auth``: its answer may lead on
    to where it keeps its files. Raises httpx.HTTPError.
    """
    give_up = time.monotonic() + MOST_SECONDS
    ours = [url for url in urls if _origin(url) == _origin(origin)][:MOST_PICTURES]
    with httpx.Client(follow_redirects=True, max_redirects=3, timeout=MOST_SECONDS) as http:
        found = [_fetch(http, url, auth, give_up) for url in ours]
    return tuple(picture for picture in found if picture)


def _fetch(http: httpx.Client, url: str, auth: httpx.Auth | None, give_up: float) -> bytes | None:
    # httpx takes the authorization off where a redirect leaves the origin.
    with http.stream("GET", url, auth=auth or httpx.USE_CLIENT_DEFAULT) as response:
        response.raise_for_status()
        pieces = []
        for piece in _within(MOST_BYTES, response.iter_bytes()):
            if time.monotonic() > give_up:
                raise httpx.ReadTimeout("the pictures took too long", request=response.request)
            if piece is None:
                return None
            pieces.append(piece)
    return b"".join(pieces)


def _within(most: int, pieces: Iterator[bytes]) -> Iterator[bytes | None]:
    """Yield pieces, and None in the place of the one that makes them more than ``most``."""
    for piece in pieces:
        most -= len(piece)
        yield piece if most >= 0 else None


def _origin(url: str) -> tuple[str, str, int | None]:
    parsed = httpx.URL(url)
    return parsed.scheme, parsed.host, parsed.port
