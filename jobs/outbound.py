"""Requests to addresses that callers name: to the public internet, and to nothing inside.

A host is resolved once for each request, every address is checked, and the connection goes to one
of those that were checked: whatever a name resolves to afterwards, or however else a URL could be
read, nothing else is connected to. No proxy, cookie or password of the environment is used.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import certifi
import httpcore
import httpx

from jobs.pinning import Guard, Resolve, resolved
from jobs.reach import Rules, Unreached

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Answer:
    """What a server answered; ``body`` as far as it was to be read.

    ``retry_after`` is its header of that name, or empty.
    """

    status: int
    body: bytes = b""
    retry_after: str = ""


class Outbound:
    """A client under rules; safe to share among threads.

    ``resolve``, ``network`` and ``tls`` are arguments for the sake of tests.
    """

    def __init__(
        self,
        rules: Rules,
        *,
        resolve: Resolve = resolved,
        network: httpcore.NetworkBackend | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.rules = rules
        self._resolve = resolve
        self._network = network or httpcore.SyncBackend()
        self._tls = tls or _trusted()

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
    ) -> Answer:
        """Send a request and return what was answered, after at most ``redirects`` redirects.

        Raises Unreached, with one of the codes of ``Rules.checked``, or ``name_unknown``,
        ``not_connected``, ``tls_failed``, ``timed_out``, ``too_many_bytes``,
        ``too_many_redirects``, ``connection_lost``, ``not_http``.
        """
        guard = Guard(self.rules, self._resolve, self._network)
        target = self.rules.checked(url)
        for _ in range(self.rules.redirects + 1):
            answer, location = self._exchange(guard, method, target, headers or {}, content)
            if location is None:
                return answer
            target = self.rules.checked(_joined(target, location))
        raise Unreached("too_many_redirects")

    def _exchange(
        self,
        guard: Guard,
        method: str,
        target: httpx.URL,
        headers: Mapping[str, str],
        content: bytes,
    ) -> tuple[Answer, str | None]:
        """Return the answer, and where it leads to if that is to be followed."""
        url = httpcore.URL(
            scheme=target.raw_scheme,
            host=target.raw_host,
            port=target.port,
            target=target.raw_path,
        )
        own = (("Host", target.netloc.decode()), ("Accept-Encoding", "identity"))
        sent = [*headers.items(), *own]
        # A pool of one connection for one request: the next one resolves the name anew.
        pool = httpcore.ConnectionPool(self._tls, max_connections=1, network_backend=guard)
        try:
            with (
                pool,
                pool.stream(method, url, headers=sent, content=content or None) as response,
            ):
                location = self._location(response)
                reads = self.rules.max_bytes and location is None
                body = b"".join(response.iter_stream()) if reads else b""
                return Answer(response.status, body, _header(response, b"retry-after")), location
        except httpcore.TimeoutException:
            raise Unreached("timed_out") from None
        except httpcore.ProtocolError:
            raise Unreached("not_http") from None
        except httpcore.NetworkError:
            raise Unreached("connection_lost") from None

    def _location(self, response: httpcore.Response) -> str | None:
        if not self.rules.redirects or response.status not in _REDIRECTS:
            return None
        return _header(response, b"location") or None


def _header(response: httpcore.Response, wanted: bytes) -> str:
    named = (value for name, value in response.headers if name.lower() == wanted)
    return next(named, b"").decode("latin-1")


def _joined(base: httpx.URL, location: str) -> str:
    try:
        return str(base.join(location))
    except (httpx.InvalidURL, ValueError):
        raise Unreached("url_invalid") from None


@cache
def _trusted() -> ssl.SSLContext:
    """Trust the authorities that certifi lists, and those that the machine knows beside them."""
    context = ssl.create_default_context(cafile=certifi.where())
    context.load_default_certs()
    return context
