"""API keys: whom a secret belongs to. The store holds only digests of them."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass

import redis

from jobs.errors import ConfigurationError, NotFound, Unauthorized
from jobs.scripts import PREFIX
from jobs.store import told_plainly

_FORM = re.compile(r"lj_([a-z0-9]{8,32})_([A-Za-z0-9]{32,128})")
DEFAULT_TENANT = "default"
_INDEX = f"{PREFIX}keys"
TENANT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Key:
    """A key without its secret; ``created`` in seconds since the epoch."""

    id: str
    tenant: str
    created: int


class Keys:
    """The API keys of all tenants."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def create(self, tenant: str, secret: str | None = None) -> str:
        """Make a key for a tenant and return it, the only time that it can be seen.

        ``secret`` sets the key (``lj_<id>_<secret>``) instead of drawing one.
        Raises ConfigurationError where its form, or the tenant's name, is another.
        """
        if not TENANT_NAME.fullmatch(tenant):
            raise ConfigurationError(
                "a tenant's name is up to 64 letters, digits, '.', '_' and '-'", param="tenant"
            )
        key = secret or f"lj_{secrets.token_hex(6)}_{secrets.token_hex(24)}"
        form = _FORM.fullmatch(key)
        if not form:
            raise ConfigurationError(
                "a key has the form lj_<8 to 32 small letters and digits>_"
                "<32 to 128 letters and digits>"
            )
        with told_plainly(), self._client.pipeline() as pipe:
            pipe.hset(
                f"{PREFIX}key:{form[1]}",
                mapping={"tenant": tenant, "digest": _digest(key), "created": int(time.time())},
            )
            pipe.sadd(_INDEX, form[1])
            pipe.execute()
        return key

    def create_first(self, tenant: str, secret: str | None = None) -> str | None:
        """Make a key as ``create`` does where there is none at all, and return it; else None."""
        return None if self.list() else self.create(tenant, secret)

    def list(self) -> list[Key]:
        """Return all keys, oldest first."""
        with told_plainly():
            ids = [i.decode() for i in self._client.smembers(_INDEX)]
            found = [self._read(i) for i in ids]
        return sorted((key for key in found if key), key=lambda key: (key.created, key.id))

    def revoke(self, key_id: str) -> None:
        """Make a key unknown at once; raises NotFound where it is already."""
        with told_plainly():
            self._client.srem(_INDEX, key_id)
            if not self._client.delete(f"{PREFIX}key:{key_id}"):
                raise NotFound(f"no key has the id {key_id!r}; see `llava-jobs keys list`")

    def tenant(self, key: str) -> str:
        """Return whom a key belongs to; raises Unauthorized where nobody does."""
        form = _FORM.fullmatch(key)
        if form:
            with told_plainly():
                tenant, digest = self._client.hmget(f"{PREFIX}key:{form[1]}", "tenant", "digest")
            if tenant and digest and hmac.compare_digest(digest.decode(), _digest(key)):
                return str(tenant.decode())
        raise Unauthorized("this key is unknown or revoked; `llava-jobs keys create` makes one")

    def _read(self, key_id: str) -> Key | None:
        tenant, created = self._client.hmget(f"{PREFIX}key:{key_id}", "tenant", "created")
        return Key(key_id, tenant.decode(), int(created)) if tenant and created else None


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
