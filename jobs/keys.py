"""API keys: whom a secret belongs to, and what it may do. The store holds only digests of them."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import redis

from jobs.errors import ConfigurationError, NotFound, Unauthorized
from jobs.records import decoded
from jobs.scripts import PREFIX, Durability, Scripts
from jobs.store import told_plainly
from jobs.tenants import BY_TENANT, Tenants, index_keys, named

_FORM = re.compile(r"lj_([a-z0-9]{8,32})_([A-Za-z0-9]{32,128})")
DEFAULT_TENANT = "default"
_INDEX = f"{PREFIX}keys"
LONGEST_S = 3_650 * 86_400
"""The longest time, in seconds, that a key or a rotation may be given."""


EXPIRED_KNOWN_S = 30 * 86_400
"""How long, in seconds, a key that has expired is still listed."""


class Scope(StrEnum):
    """What a key may do; none of them implies another."""

    SUBMIT = "submit"
    """Send, stop and erase the tenant's jobs and pictures."""
    READ = "read"
    """See the tenant's jobs, answers and events."""
    ADMIN = "admin"
    """Make and end the keys of all tenants, and set their limits."""


DEFAULT_SCOPES = frozenset({Scope.SUBMIT, Scope.READ})
"""Of a key that is made with none named, and of those made before there were scopes."""


@dataclass(frozen=True)
class Key:
    """A key without its secret; times in seconds since the epoch.

    ``ending`` is the secret's last four characters, where they are known. After a rotation the
    secret before works until ``previous_until``.
    """

    id: str
    tenant: str
    created: int
    scopes: frozenset[Scope]
    expires: int | None
    ending: str | None
    previous_ending: str | None
    previous_until: int | None


class Keys:
    """The API keys of all tenants; ``clock`` returns seconds since the epoch.

    What is made, rotated or revoked is durable before it is told; ``durability`` and ``replicas``
    are as in jobs.scripts. Every method raises StoreUnavailable where the store cannot be used.
    """

    def __init__(
        self,
        client: redis.Redis,
        clock: Callable[[], float] = time.time,
        *,
        durability: Durability = "waitaof",
        replicas: int = 0,
    ) -> None:
        self._client = client
        self._clock = clock
        self._scripts = Scripts(client, durability=durability, replicas=replicas)
        self._run = partial(self._scripts.run, durable=True)

    def create(
        self,
        tenant: str,
        secret: str | None = None,
        *,
        scopes: Iterable[Scope] = DEFAULT_SCOPES,
        expires_in_s: int | None = None,
    ) -> str:
        """Make a key for a tenant and return it, the only time that it can be seen.

        ``secret`` sets the key (``lj_<id>_<secret>``) instead of drawing one.
        Raises ConfigurationError where its form, the tenant's name or its life cannot be.
        """
        key = secret or f"lj_{secrets.token_hex(6)}_{secrets.token_hex(24)}"
        form = _FORM.fullmatch(key)
        if not form:
            raise ConfigurationError(
                "a key has the form lj_<8 to 32 small letters and digits>_"
                "<32 to 128 letters and digits>"
            )
        fields: dict[str, str | int] = {
            "tenant": named(tenant),
            "digest": digest_of(key),
            "created": int(self._clock()),
            "scopes": " ".join(sorted(scopes)),
            "ending": key[-4:],
        }
        known_ms: int | str = ""
        if expires_in_s is not None:
            fields["expires"] = self._in(expires_in_s, at_least=1)
            known_ms = (expires_in_s + EXPIRED_KNOWN_S) * 1000
        parts = (part for field in fields.items() for part in field)
        self._run("make_key", form[1], known_ms, *parts)
        return key

    def create_first(self, tenant: str, secret: str | None = None) -> str | None:
        """Make a key as ``create`` does where there is none at all, and return it; else None."""
        return None if self.list() else self.create(tenant, secret)

    def list(self) -> list[Key]:
        """Return all keys, oldest first; those that have expired for a month after that."""
        with told_plainly(), self._client.pipeline(transaction=False) as pipe:
            ids = [i.decode() for i in self._client.smembers(_INDEX)]
            for key_id in ids:
                pipe.hgetall(f"{PREFIX}key:{key_id}")
            found = [
                self._read(key_id, decoded(fields))
                for key_id, fields in zip(ids, pipe.execute(), strict=True)
                if fields
            ]
        if len(found) < len(ids):
            self._scripts.run("index_keys")  # some have expired a month ago
        return sorted(found, key=lambda key: (key.created, key.id))

    def page(
        self, *, tenant: str | None = None, after: str | None = None, limit: int = 100
    ) -> tuple[Sequence[Key], str | None]:
        """Return keys by tenant, or of one tenant, by id, and the cursor of what comes behind."""
        index_keys(self._client)
        lowest = f"({after}" if after else f"[{tenant}," if tenant else "-"
        # '-' comes next to the comma.
        highest = f"({tenant}-" if tenant else "+"
        with told_plainly(), self._client.pipeline(transaction=False) as pipe:
            entries = self._client.zrangebylex(BY_TENANT, lowest, highest, 0, limit + 1)
            ids = [entry.decode().partition(",")[2] for entry in entries[:limit]]
            for key_id in ids:
                pipe.hgetall(f"{PREFIX}key:{key_id}")
            records = zip(ids, pipe.execute(), strict=True)
        found = [self._read(key_id, decoded(fields)) for key_id, fields in records if fields]
        if len(found) < len(ids):
            self._scripts.run("index_keys")  # some have expired a month ago
        return found, entries[limit - 1].decode() if len(entries) > limit else None

    def get(self, key_id: str) -> Key:
        """Return a key by its id; raises NotFound."""
        with told_plainly():
            fields = self._client.hgetall(f"{PREFIX}key:{key_id}")
        if not fields:
            raise _no_key()
        return self._read(key_id, decoded(fields))

    def rotate(self, key_id: str, overlap_s: int) -> str:
        """Give a key a new secret and return it whole, the only time that it can be seen.

        The secret before works for another ``overlap_s`` seconds, the one before that no more.
        Raises NotFound, ConfigurationError.
        """
        key = f"lj_{key_id}_{secrets.token_hex(24)}"
        if not self._run("rotate", key_id, digest_of(key), key[-4:], self._in(overlap_s)):
            raise _no_key()
        return key

    def revoke(self, key_id: str) -> None:
        """Make a key unknown at once; raises NotFound where it is already."""
        if not self._run("revoke_key", key_id):
            raise _no_key()

    def identify(self, key: str) -> Key:
        """Return whose a key is and what it may do.

        Raises Unauthorized where it is nobody's, or has expired.
        """
        return self.recognize(*parted(key))

    def recognize(self, key_id: str, digest: str) -> Key:
        """Return a key that still has the secret of a digest; raises Unauthorized as above."""
        with told_plainly():
            fields = decoded(self._client.hgetall(f"{PREFIX}key:{key_id}"))
        return self.checked(key_id, digest, fields)

    def checked(self, key_id: str, digest: str, fields: Mapping[str, str]) -> Key:
        """Return a key by its record, where it has the secret of a digest; raises as above."""
        now = self._clock()
        current = hmac.compare_digest(fields.get("digest", ""), digest)
        previous = hmac.compare_digest(fields.get("previous_digest", ""), digest)
        if not current and not (previous and now < int(fields["previous_until"])):
            raise _unknown()
        found = self._read(key_id, fields)
        if found.expires is not None and now >= found.expires:
            raise Unauthorized(
                "this key has expired; ask whoever runs this for another", code="expired_api_key"
            )
        return found

    def _in(self, seconds: int, at_least: int = 0) -> int:
        if not at_least <= seconds <= LONGEST_S:
            raise ConfigurationError(f"a key's time is {at_least} s to {LONGEST_S // 86_400} days")
        return int(self._clock()) + seconds

    def _read(self, key_id: str, fields: Mapping[str, str]) -> Key:
        previous_until = int(fields.get("previous_until") or 0)
        rotating = previous_until > self._clock()
        scopes = fields.get("scopes")
        return Key(
            id=key_id,
            tenant=fields["tenant"],
            created=int(fields["created"]),
            scopes=DEFAULT_SCOPES if scopes is None else frozenset(_known(scopes)),
            expires=int(fields["expires"]) if fields.get("expires") else None,
            ending=fields.get("ending") or None,
            previous_ending=(fields.get("previous_ending") or None) if rotating else None,
            previous_until=previous_until if rotating else None,
        )


def tenant_names(keys: Keys, tenants: Tenants) -> list[str]:
    """Return the names of the tenants that have keys or limits, sorted."""
    return sorted({key.tenant for key in keys.list()} | set(tenants.with_limits()))


def _known(scopes: str) -> list[Scope]:
    """Return the scopes that a record names; a newer version may know more."""
    return [scope for scope in Scope if scope in scopes.split()]


def _no_key() -> NotFound:
    return NotFound("no key has this id; `llava-jobs keys list` shows them", code="key_not_found")


def _unknown() -> Unauthorized:
    return Unauthorized("this key is unknown or revoked; `llava-jobs keys create` makes one")


def parted(key: str) -> tuple[str, str]:
    """Return a key's id and the digest of it; raises Unauthorized where it is none."""
    form = _FORM.fullmatch(key)
    if not form:
        raise _unknown()
    return form[1], digest_of(key)


def digest_of(key: str) -> str:
    """Return what the store holds of a key: SHA-256 in hex."""
    return hashlib.sha256(key.encode()).hexdigest()
