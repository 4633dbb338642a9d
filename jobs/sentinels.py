"""A store behind Redis Sentinel: which of several servers leads is asked at every connection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import redis
from redis.connection import SSLConnection, parse_url
from redis.sentinel import Sentinel

_MARK = "+sentinel://"
_PORT = 26379


@dataclass(frozen=True)
class Sentinels:
    """Sentinels, the service that they watch, and how its servers are spoken to.

    ``login`` is the servers' part of the URL before the ``@``. ``options`` are redis-py's for the
    servers, ``own`` those for the sentinels themselves; neither is ever logged.
    """

    hosts: tuple[tuple[str, int], ...]
    service: str
    login: str = field(repr=False)
    options: Mapping[str, Any] = field(repr=False)
    own: Mapping[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> Sentinels | None:
        """Read ``redis+sentinel://[user:password@]host[:port],.../database?service=name``.

        With ``rediss`` all is spoken over TLS; ``sentinel_username`` and ``sentinel_password`` are
        the sentinels' own. None where the URL is of a single server. Raises ValueError where it
        names no service, or what it says has no meaning.
        """
        scheme, mark, rest = url.partition(_MARK)
        if not mark:
            return None
        parts = urlsplit(f"{scheme}://{rest}")
        login, _, hosts = parts.netloc.rpartition("@")
        query = dict(parse_qsl(parts.query))
        service = query.pop("service", None)
        if not service or not all(hosts.split(",")):
            raise ValueError("no service, or no host")
        own: dict[str, Any] = {
            name: query.pop(f"sentinel_{name}")
            for name in ("username", "password")
            if f"sentinel_{name}" in query
        }
        server = (scheme, f"{login}@server" if login else "server", parts.path, urlencode(query))
        options = {**parse_url(urlunsplit((*server, "")))}
        del options["host"]
        if options.pop("connection_class", None) is SSLConnection:
            options["ssl"] = True
            own |= {name: told for name, told in options.items() if name.startswith("ssl")}
        places = tuple(_place(host) for host in hosts.split(","))
        return cls(places, service, login, options, own)

    def client(self, **patience: Any) -> redis.Redis:
        """Return a client of whichever server leads; ``patience`` are redis-py's time limits."""
        asked = {name: limit for name, limit in patience.items() if name.startswith("socket_")}
        sentinel = Sentinel(self.hosts, sentinel_kwargs={**asked, **self.own})
        client: redis.Redis = sentinel.master_for(self.service, **{**patience, **self.options})
        return client

    @property
    def broker_url(self) -> str:
        """The same as Celery has it."""
        at = f"{self.login}@" if self.login else ""
        database = self.options.get("db", 0)
        return ";".join(f"sentinel://{at}{host}:{port}/{database}" for host, port in self.hosts)

    @property
    def broker_options(self) -> dict[str, Any]:
        """What Celery's transport must know besides."""
        return {"master_name": self.service, "sentinel_kwargs": dict(self.own)}

    @property
    def tls(self) -> dict[str, Any]:
        """What is set about TLS, such as ``ssl_ca_certs``."""
        return {name: told for name, told in self.options.items() if name.startswith("ssl_")}


def _place(text: str) -> tuple[str, int]:
    place = urlsplit(f"//{text}")
    return place.hostname or "", place.port or _PORT
