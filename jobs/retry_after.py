"""How long a server asks to be left alone, in the header by which it does."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime


def asked_ms(header: str, now_s: float) -> int:
    """Return the milliseconds that a ``Retry-After`` asks for; 0 where it cannot be read.

    It is a number of seconds or a date (RFC 9110, section 10.2.3); ``now_s`` is the time since the
    epoch in seconds.
    """
    if header.isascii() and header.isdecimal():
        return int(header[:12]) * 1000
    try:
        until = parsedate_to_datetime(header)
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        return max(0, round((until.timestamp() - now_s) * 1000))
    except (ValueError, OverflowError):
        return 0
