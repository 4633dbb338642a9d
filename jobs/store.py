"""The connection to Redis or Valkey, and what that server promises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from jobs.errors import ConfigurationError, LedgerFull, StoreUnavailable
from jobs.sentinels import Sentinels

OLDEST_REDIS = (6, 2)
FORMS = (
    "redis://[user:password@]host[:port][/database], or rediss:// with TLS, or "
    "redis+sentinel://[user:password@]host[:port],host[:port][/database]?service=name"
)
_REFUSALS = ("MISCONF", "NOREPLICAS", "MASTERDOWN", "READONLY", "BUSY ")
"""What a server says first that lives but does nothing: a full disk, a lost primary, a script."""


def connect(url: str) -> redis.Redis:
    """Return a client for ``url`` that fails in seconds rather than hangs.

    Replies come as bytes. Nothing is sent yet. Raises ConfigurationError where it is no URL.
    """
    patience: dict[str, Any] = {
        "socket_timeout": 10,
        "socket_connect_timeout": 3,
        "socket_keepalive": True,
        "health_check_interval": 15,
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.05), 2),
    }
    with _told_as_configuration():
        sentinels = Sentinels.parse(url)
        return sentinels.client(**patience) if sentinels else redis.Redis.from_url(url, **patience)


def sentinels_of(url: str) -> Sentinels | None:
    """Return the sentinels that ``url`` names; None where it is of a server.

    Raises ConfigurationError where it is no URL.
    """
    with _told_as_configuration():
        return Sentinels.parse(url)


@contextmanager
def _told_as_configuration() -> Iterator[None]:
    try:
        yield
    except ValueError:
        raise ConfigurationError(
            f"LLAVA_JOBS_REDIS_URL is no URL of a store: it has the form {FORMS}"
        ) from None


@contextmanager
def told_plainly() -> Iterator[None]:
    """Turn the store's failures into errors that a caller can be told.

    Raises LedgerFull where its memory is full, StoreUnavailable where it cannot be used.
    """
    try:
        yield
    except redis.exceptions.OutOfMemoryError as error:
        raise LedgerFull("the store has no memory left; try again later", retry_after=30) from error
    except (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError) as error:
        raise StoreUnavailable("the store cannot be reached; try again", retry_after=5) from error
    except redis.ResponseError as error:
        # Of a pipeline, the client puts the command before what the server said.
        if not str(error).rpartition("of pipeline caused error: ")[2].startswith(_REFUSALS):
            raise
        raise StoreUnavailable("the store takes no writes now; try again", retry_after=5) from error


def server_time(client: redis.Redis) -> int:
    """Return the time of a store's own clock, in milliseconds since the epoch."""
    seconds, microseconds = client.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


@dataclass(frozen=True)
class Server:
    """What a store is: its name, its version, and how it makes an accepted job durable."""

    name: str
    version: tuple[int, ...]
    durability: Literal["waitaof", "always", "memory"]

    def __str__(self) -> str:
        words = {
            "waitaof": "every acceptance waits for its sync to disk (WAITAOF)",
            "always": "every write is synced to disk (appendfsync always)",
            "memory": "accepted jobs are in memory only",
        }
        return f"{self.name} {'.'.join(map(str, self.version))}, {words[self.durability]}"


def inspect(client: redis.Redis, wanted: Literal["disk", "memory"]) -> Server:
    """Ask a store what it is and whether it can keep the promise ``wanted``.

    Raises ConfigurationError, with the cure, where it is too old or cannot keep it;
    StoreUnavailable where it does not answer.
    """
    with told_plainly():
        info = client.info()
    name = "Valkey" if "valkey_version" in info else "Redis"
    text = str(info.get("valkey_version") or info["redis_version"])
    version = tuple(int(part) for part in text.split(".")[:3])
    if name == "Redis" and version < OLDEST_REDIS:
        raise ConfigurationError(f"the store is Redis {text}; 6.2 or newer is needed")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise ConfigurationError(
            f"the store's maxmemory-policy is {policy}, so it would drop accepted jobs and "
            "pictures when its memory is full: set `maxmemory-policy noeviction`"
        )
    if wanted == "memory":
        return Server(name, version, "memory")
    if not info.get("aof_enabled"):
        raise ConfigurationError(
            "the store keeps no append-only file, so an accepted job could be lost: start it with "
            "`--appendonly yes`, or set LLAVA_JOBS_DURABILITY=memory if that is meant"
        )
    fsync = _fsync_policy(client)
    if name == "Valkey" or version >= (7, 2):
        if fsync == "no":
            raise ConfigurationError(
                "the store never syncs its append-only file (`appendfsync no`), so no accepted job "
                "is confirmed to be on disk: set `appendfsync everysec` or `always`"
            )
        return Server(name, version, "waitaof")
    if fsync != "always":
        raise ConfigurationError(
            f"Redis {text} has no WAITAOF, so it must run with `--appendfsync always` for an "
            "accepted job to be on disk; or set LLAVA_JOBS_DURABILITY=memory if that is meant"
        )
    return Server(name, version, "always")


def _fsync_policy(client: redis.Redis) -> str | None:
    try:
        with told_plainly():
            policy: dict[str, str] = client.config_get("appendfsync")
    except redis.ResponseError:
        return None  # managed servers refuse CONFIG
    return policy.get("appendfsync")
