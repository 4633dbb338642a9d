"""Files of tenants, each kept in parts in the store, and read and written a part at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import redis

from jobs.errors import Conflict, FileTooLarge, InvalidRequest, StoreUnavailable
from jobs.job import new_id
from jobs.memory import FULL, full
from jobs.newest import Newest
from jobs.records import decoded, record
from jobs.scripts import PREFIX, Scripts
from jobs.store import told_plainly

PART_BYTES = 1024 * 1024
"""Of all parts of an uploaded file but its last."""
_FIRST_LIFE_MS = 3 * 3600 * 1000
"""How long parts wait for the file that they are of to be complete."""


@dataclass(frozen=True)
class File:
    """What is known of a file; times in milliseconds since the epoch, ``size`` in bytes."""

    tenant: str
    id: str
    purpose: str
    name: str
    size: int
    parts: int
    created_at: int
    expires_at: int

    @classmethod
    def from_record(cls, tenant: str, fields: Mapping[str, str]) -> File:
        """Read a file of a tenant from the fields of its hash."""
        return cls(
            tenant=tenant,
            id=fields["id"],
            purpose=fields["purpose"],
            name=fields["name"],
            size=int(fields["bytes"]),
            parts=int(fields["parts"]),
            created_at=int(fields["created"]),
            expires_at=int(fields["expires"]),
        )


class Intake:
    """A file that is coming in; holds no more of it than one part.

    It has what a form parser wants of a file. What is never ``keep``-t goes by itself, in time.
    """

    def __init__(self, files: Files, tenant: str) -> None:
        self._files = files
        self._tenant = tenant
        self._id = new_id("file")
        self._held = bytearray()
        self._size = 0
        self._parts = 0

    def write(self, data: bytes) -> int:
        """Take the next bytes; raises FileTooLarge, LedgerFull, StoreUnavailable."""
        self._size += len(data)
        if self._size > self._files.most_bytes:
            raise too_large(self._files.most_bytes)
        self._held += data
        while len(self._held) >= PART_BYTES:
            self._put(PART_BYTES)
        return len(data)

    def seek(self, offset: int) -> int:
        """Do nothing: whoever parses a form goes to the start of a file that he has written."""
        return offset

    def keep(self, purpose: str, name: str, life_ms: int | None = None) -> File:
        """Make it a file, kept for ``life_ms`` or as long as any, once that is durable.

        Raises InvalidRequest where the tenant's files take too much, LedgerFull, StoreUnavailable.
        """
        if self._held:
            self._put(len(self._held))
        return self._files.keep(self._tenant, self._id, purpose, name, self._size, life_ms)

    def drop(self) -> None:
        """Leave nothing of what came in and was not kept."""
        self._files.drop(self._tenant, self._id, self._parts)

    def _put(self, size: int) -> None:
        self._files.put(self._tenant, self._id, self._parts, bytes(self._held[:size]))
        self._parts += 1
        del self._held[:size]


class Files:
    """The files of all tenants.

    Each is kept for ``life_ms`` and has at most ``most_bytes``, all that one tenant sent together
    ``most_of_tenant``. Every method raises StoreUnavailable.
    """

    def __init__(
        self,
        client: redis.Redis,
        scripts: Scripts,
        *,
        life_ms: int,
        most_bytes: int,
        most_of_tenant: int,
    ) -> None:
        self._client = client
        self._run = scripts.run
        self.life_ms = life_ms
        self.most_bytes = most_bytes
        self._most_of_tenant = most_of_tenant

    def begin(self, tenant: str) -> Intake:
        """Return where a tenant's file may be written to."""
        return Intake(self, tenant)

    def get(self, tenant: str, file_id: str) -> File | None:
        """Return a tenant's file; None where there is none, or none any more."""
        with told_plainly():
            fields = decoded(self._client.hgetall(_key(tenant, file_id)))
        return File.from_record(tenant, fields) if fields else None

    def page(
        self, tenant: str, *, limit: int, after: str | None, ascending: bool, purpose: str | None
    ) -> tuple[list[File], bool] | None:
        """Return files of a tenant behind ``after``, and whether there are more.

        None where ``after`` leads nowhere.
        """
        newest = Newest(self._client, f"{PREFIX}files:{tenant}", lambda i: _key(tenant, i))
        found = newest.page(
            limit, after, ascending=ascending, wanted=lambda f: purpose in (None, f["purpose"])
        )
        if found is None:
            return None
        return [File.from_record(tenant, fields) for fields in found[0]], found[1]

    def read(self, file: File, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes of an uploaded file, from one part; none at its end."""
        number, start = divmod(offset, PART_BYTES)
        with told_plainly():
            found = self._client.getrange(
                _part(file.tenant, file.id, number), start, start + size - 1
            )
        return bytes(found)

    def content(self, file: File) -> Iterator[bytes]:
        """Yield a file, part by part, as far as it had been written when it was looked up."""
        left = file.size
        for number in range(file.parts):
            with told_plainly():
                found = bytes(self._client.get(_part(file.tenant, file.id, number)) or b"")
            yield found[:left]
            left -= len(found)
            if left <= 0 or not found:
                return

    def erase(self, tenant: str, file_id: str) -> bool:
        """Leave nothing of a tenant's file, once that is durable; False where there is none.

        Raises Conflict while a batch needs it.
        """
        done = self._run("erase_file", tenant, file_id, durable=True)
        if done < 0:
            raise Conflict(
                "a batch that has not ended needs this file; cancel the batch first",
                code="file_in_use",
            )
        return bool(done)

    def put(self, tenant: str, file_id: str, number: int, data: bytes) -> None:
        """Hold a part of a file that is coming in; raises LedgerFull."""
        with told_plainly():
            if self._client.exists(FULL):
                raise full()
            self._client.set(_part(tenant, file_id, number), data, px=_FIRST_LIFE_MS)

    def keep(
        self, tenant: str, file_id: str, purpose: str, name: str, size: int, life_ms: int | None
    ) -> File:
        """Make parts that were put a file, as ``Intake.keep`` does."""
        life = min(life_ms or self.life_ms, self.life_ms)
        parts = -(-size // PART_BYTES)
        verdict, *told = self._run(
            *("keep_file", tenant, file_id, purpose, name, size, parts, life),
            self._most_of_tenant,
            durable=True,
        )
        if verdict == b"files_full":
            raise InvalidRequest(
                f"your files may have {self._most_of_tenant} bytes together, and have "
                f"{int(told[0])}; erase some",
                code="files_full",
                param="file",
            )
        if verdict == b"lost":
            raise StoreUnavailable("the file came too slowly; send it again", retry_after=1)
        return File.from_record(tenant, record(told[0]))

    def drop(self, tenant: str, file_id: str, parts: int) -> None:
        """Leave nothing of parts that were put and not kept."""
        if parts:
            with told_plainly():
                self._client.unlink(*(_part(tenant, file_id, n) for n in range(parts)))


def too_large(most: int) -> FileTooLarge:
    """Return the error that says how large a file may be."""
    return FileTooLarge(f"a file may have at most {most} bytes; send several", param="file")


def _key(tenant: str, file_id: str) -> str:
    return f"{PREFIX}file:{tenant}:{file_id}"


def _part(tenant: str, file_id: str, number: int) -> str:
    return f"{_key(tenant, file_id)}:{number}"
