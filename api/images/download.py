"""Pictures that come as URLs: fetched at the door, from the hosts that an operator allows."""

from __future__ import annotations

import threading

from api.images.decoder_pool import ImageRejected
from jobs.errors import InvalidRequest
from jobs.lists import listed
from jobs.outbound import Outbound
from jobs.reach import Rules, Unreached
from jobs.settings import Settings

MOST_REDIRECTS = 3
_MOST_AT_A_TIME = 16
"""Of a process's threads, that a slow host must not hold all."""


class ImageUrls:
    """Fetches pictures; without a client, none."""

    def __init__(self, outbound: Outbound | None) -> None:
        self._outbound = outbound
        self._slots = threading.Semaphore(_MOST_AT_A_TIME)

    def fetch(self, url: str) -> bytes:
        """Return the bytes of the file at a URL, whatever they are.

        Raises InvalidRequest: ``image_url_off``, ``image_url_invalid``, ``image_url_forbidden``,
        ``image_url_timeout``, ``image_url_failed``; ImageRejected: ``image_too_many_bytes``,
        ``images_busy``.
        """
        if self._outbound is None:
            raise InvalidRequest(
                "pictures by URL are switched off here; send the picture itself",
                code="image_url_off",
                param="images",
            )
        if not self._slots.acquire(blocking=False):
            raise ImageRejected(
                "images_busy", "too many pictures are being fetched; try again", retry_after=1
            )
        try:
            answer = self._outbound.send("GET", url, headers={"Accept": "image/*"})
        except Unreached as error:
            raise _refusal(error.code) from None
        finally:
            self._slots.release()
        if answer.status != 200:
            raise InvalidRequest(
                f"the picture's host answered {answer.status}; send the picture itself",
                code="image_url_failed",
                param="images",
            )
        return answer.body


def image_urls(settings: Settings) -> ImageUrls:
    """Return what fetches pictures, as the settings want it."""
    hosts = listed(settings.image_url_hosts)
    if not hosts:
        return ImageUrls(None)
    rules = Rules(
        timeout_s=settings.image_url_timeout_s,
        max_bytes=settings.max_body_bytes,
        redirects=MOST_REDIRECTS,
        hosts=hosts,
    )
    return ImageUrls(Outbound(rules))


def _refusal(code: str) -> InvalidRequest:
    if code == "too_many_bytes":
        return ImageRejected(
            "image_too_many_bytes", "the picture at this URL is too large; make or save it smaller"
        )
    if code == "url_invalid":
        return InvalidRequest(
            "a picture's URL, or where it redirects to, is no URL that can be asked for",
            code="image_url_invalid",
            param="images",
        )
    if code in {"url_forbidden", "address_forbidden"}:
        return InvalidRequest(
            "pictures are not fetched from there: only by HTTPS, from hosts that are allowed here",
            code="image_url_forbidden",
            param="images",
        )
    if code == "timed_out":
        return InvalidRequest(
            "the picture's host took too long; send the picture itself",
            code="image_url_timeout",
            param="images",
        )
    return InvalidRequest(
        f"the picture could not be fetched ({code}); send the picture itself",
        code="image_url_failed",
        param="images",
    )
