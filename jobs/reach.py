"""What a caller may have us connect to, as far as a URL says it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import httpx

from jobs.addresses import Address, Network, is_public, parsed

MAX_URL_CHARS = 2048


class Unreached(Exception):
    """Raised where a request got no answer; ``code`` is stable, and docs/api.md lists the codes."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Rules:
    """What may be reached, and what a request may cost.

    ``hosts`` are the only ones (None: any), ``http_hosts`` those for which TLS may be missing, each
    a name or `*.name`. ``networks`` may be reached though they are not public. ``timeout_s`` bounds
    all of a request, redirects included. Of the answer's body ``max_bytes`` are read; 0: none.
    """

    timeout_s: float
    max_bytes: int = 0
    redirects: int = 0
    hosts: tuple[str, ...] | None = None
    http_hosts: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()

    def permit(self, address: Address) -> bool:
        """Whether an address may be connected to."""
        return is_public(address) or any(address in network for network in self.networks)

    def checked(self, url: str) -> httpx.URL:
        """Return a URL that may be asked for, as far as that can be told without resolving it.

        Raises Unreached: ``url_invalid``, ``url_forbidden``, ``address_forbidden``.
        """
        target = _parsed_url(url)
        host = target.raw_host.decode()
        if target.userinfo or not self._may_be_spoken_to(target.scheme, host):
            raise Unreached("url_forbidden")
        address = parsed(host)
        if address and not self.permit(address):
            raise Unreached("address_forbidden")
        return target

    def _may_be_spoken_to(self, scheme: str, host: str) -> bool:
        if self.hosts is not None and not matches(host, self.hosts):
            return False
        return scheme == "https" or (scheme == "http" and matches(host, self.http_hosts))


def matches(host: str, patterns: Iterable[str]) -> bool:
    """Whether a host is one of the names, or below one that is given as `*.name`."""
    return any(
        host == pattern or (pattern.startswith("*.") and host.endswith(pattern[1:]))
        for pattern in patterns
    )


def _parsed_url(url: str) -> httpx.URL:
    if len(url) > MAX_URL_CHARS or "\\" in url or any(c <= " " or c == "\x7f" for c in url):
        raise Unreached("url_invalid")
    try:
        target = httpx.URL(url)
        host = target.raw_host.decode()
    except (httpx.InvalidURL, ValueError):
        raise Unreached("url_invalid") from None
    port = 443 if target.port is None else target.port
    if not host or "%" in host or not 0 < port < 65536 or _is_odd_number(host):
        raise Unreached("url_invalid")
    return target


def _is_odd_number(host: str) -> bool:
    """Whether a resolver may read a host as an address that is not written like one."""
    last = host.rstrip(".").rpartition(".")[2].lower()
    return (last.isdigit() or last.startswith("0x")) and parsed(host) is None
