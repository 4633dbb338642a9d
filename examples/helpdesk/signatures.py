"""Whether a helpdesk sent what came: both sign a time and the body with a shared secret."""

from __future__ import annotations

import hmac
import time
from base64 import b64encode
from datetime import datetime

from werkzeug.datastructures import Headers

_LONGEST_S = 300
"""What is older was kept by somebody, to be sent again."""


def zendesk_signed(headers: Headers, body: bytes, secret: str) -> bool:
    """Whether Zendesk signed this (developer.zendesk.com/documentation/webhooks/verifying)."""
    at = headers.get("X-Zendesk-Webhook-Signature-Timestamp", "")
    signature = headers.get("X-Zendesk-Webhook-Signature", "")
    expected = b64encode(hmac.digest(secret.encode(), at.encode() + body, "sha256")).decode()
    try:
        signed_at = datetime.fromisoformat(at).timestamp()
    except ValueError:
        return False
    return _equal(expected, signature) and _is_fresh(signed_at)


def chatwoot_signed(headers: Headers, body: bytes, secret: str) -> bool:
    """Whether Chatwoot signed this: ``secret`` of its webhook, in developers.chatwoot.com."""
    at = headers.get("X-Chatwoot-Timestamp", "")
    signature = headers.get("X-Chatwoot-Signature", "")
    expected = "sha256=" + hmac.digest(secret.encode(), f"{at}.".encode() + body, "sha256").hex()
    return at.isdecimal() and _equal(expected, signature) and _is_fresh(int(at))


def _equal(expected: str, signature: str) -> bool:
    return hmac.compare_digest(expected.encode(), signature.encode())


def _is_fresh(signed_at: float) -> bool:
    return abs(time.time() - signed_at) < _LONGEST_S
