"""Sessions of the pages: who signed in, with which key. The store holds digests of their tokens."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass

import redis

from jobs.errors import Unauthorized
from jobs.keys import Key, Keys, digest_of
from jobs.scripts import PREFIX
from jobs.store import told_plainly


@dataclass(frozen=True)
class Session:
    """Somebody who signed in: ``token`` is what their browser holds, ``key`` what they may do."""

    token: str
    key: Key


class Sessions:
    """The sessions of all tenants, each of ``life_s`` seconds and of no use where a key goes.

    Every method raises StoreUnavailable where the store cannot be used.
    """

    def __init__(self, client: redis.Redis, keys: Keys, life_s: int) -> None:
        self._client = client
        self._keys = keys
        self._life_s = life_s

    def open(self, secret: str) -> Session:
        """Begin a session with a key; raises Unauthorized, LedgerFull."""
        key = self._keys.identify(secret)
        token = secrets.token_urlsafe(32)
        # The digest says which of a key's secrets was used: a session ends with that one.
        data = json.dumps({"key": key.id, "digest": digest_of(secret)})
        with told_plainly():
            self._client.set(_name(token), data, ex=self._life_s)
        return Session(token, key)

    def find(self, token: str) -> Session | None:
        """Return a session; None where it is over, or its key's secret is no longer good."""
        with told_plainly():
            found = self._client.get(_name(token))
        if found is None:
            return None
        data = json.loads(found)
        try:
            return Session(token, self._keys.recognize(data["key"], data["digest"]))
        except Unauthorized:
            self.close(token)
            return None

    def close(self, token: str) -> None:
        """End a session at once, wherever else its token is kept."""
        with told_plainly():
            self._client.delete(_name(token))


def _name(token: str) -> str:
    return f"{PREFIX}session:{hashlib.sha256(token.encode()).hexdigest()}"
