"""Forged requests: those that another site has a browser send. Pages take none of them."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import urlsplit

from flask import request

from api.console.visitors import visitor
from api.services import services
from jobs.errors import Forbidden

FIELD = "csrf"
HEADER = "X-CSRF-Token"


def token() -> str:
    """Return what every form of a visitor's pages carries, and nobody else can know."""
    return hmac.new(visitor().secret.encode(), b"forms", hashlib.sha256).hexdigest()


def refuse_other_origins() -> None:
    """Raise Forbidden where a browser says that the request comes from elsewhere."""
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    origin = request.headers.get("Origin")
    # TLS may end in front of us, so that only hosts can be compared; a proxy may name us otherwise.
    ours = {request.host, urlsplit(services().settings.public_url).netloc} - {""}
    if site not in {"same-origin", "none"} or (
        origin is not None and urlsplit(origin).netloc not in ours
    ):
        raise _forged()


def refuse_without_token() -> None:
    """Raise Forbidden where the request has not the token of its visitor's pages."""
    sent = request.headers.get(HEADER) or request.form.get(FIELD) or ""
    if not hmac.compare_digest(sent.encode(), token().encode()):
        raise _forged()


def _forged() -> Forbidden:
    return Forbidden(
        "this form did not come from a page of yours, or that page is too old; open it again",
        code="forged_request",
    )
