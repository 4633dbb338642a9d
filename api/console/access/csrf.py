"""Forged requests: those that another site has a browser send. Pages take none of them."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import request

from api.services import services
from jobs.errors import Forbidden


def refuse_other_origins() -> None:
    """Raise Forbidden where a browser does not say that the request comes from our own pages.

    Every browser sends ``Origin`` with a form, and no site can have it send another. So a page
    needs no token, and none that is open becomes too old to be sent.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is None and origin is None:
        raise _forged()
    if site not in {None, "same-origin", "none"} or not _is_ours(origin):
        raise _forged()


def _is_ours(origin: str | None) -> bool:
    if origin is None:
        return True
    # TLS may end in front of us, so that only hosts can be compared; a proxy may name us otherwise.
    ours = {request.host, urlsplit(services().settings.public_url).netloc} - {""}
    return origin.partition("://")[2] in ours


def _forged() -> Forbidden:
    return Forbidden(
        "this form did not come from a page of this server; open the page again",
        code="forged_request",
    )
