"""A file as it comes in by a form: what is read of it goes straight to where it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any, Literal, cast

from flask import Request
from pydantic import Field

from api.http.multipart import FormParser
from api.jobs.request import Fields, validated
from jobs.errors import InvalidRequest, UnsupportedMediaType
from jobs.files import Intake, too_large

_BESIDE_BYTES = 64 * 1024
"""What a form may have beside its file: its other fields, and what is between them."""
_MAX_FIELD_BYTES = 64 * 1024
_MAX_PARTS = 16
MAX_NAME_CHARS = 255


class ExpiresAfter(Fields):
    """How long a file is to be kept."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=3_600, le=2_592_000)


class FileFields(Fields):
    """What is sent beside a file."""

    purpose: Literal["batch"]
    expires_after: ExpiresAfter | None = None


@dataclass(frozen=True)
class FileForm:
    """What was sent with a file, and the name that it came with."""

    fields: FileFields
    name: str


def read_file_form(request: Request, intake: Intake, most_bytes: int) -> FileForm:
    """Write the file of a form into ``intake``, and return what came with it.

    Raises UnsupportedMediaType, MalformedRequest where the form cannot be read, FileTooLarge,
    InvalidRequest where a field is wrong, LedgerFull, StoreUnavailable.
    """
    if request.mimetype != "multipart/form-data":
        raise UnsupportedMediaType("send multipart/form-data")
    if (request.content_length or 0) > most_bytes + _BESIDE_BYTES:
        raise too_large(most_bytes)
    request.max_content_length = most_bytes + _BESIDE_BYTES
    files = 0

    def begun(*_: object, **__: object) -> IO[bytes]:
        nonlocal files
        files += 1
        if files > 1:
            raise InvalidRequest("send one file", code="invalid_field", param="file")
        return cast("IO[bytes]", intake)

    parser = FormParser(
        stream_factory=begun,
        max_form_memory_size=_MAX_FIELD_BYTES,
        max_form_parts=_MAX_PARTS,
    )
    _, form, sent = parser.parse(
        request.stream, request.mimetype, request.content_length, request.mimetype_params
    )
    fields = _fields(form.to_dict())
    if not sent:
        raise InvalidRequest("send a file part named file", code="missing_field", param="file")
    [(part, file)] = sent.items()
    if part != "file":
        raise InvalidRequest("the file part is named file", code="unknown_field", param=part)
    return FileForm(fields, (file.filename or "file")[:MAX_NAME_CHARS])


def _fields(form: Mapping[str, str]) -> FileFields:
    """Return the fields of a form, in which members of an object are named ``object[member]``."""
    fields: dict[str, Any] = {}
    objects: dict[str, Any] = {}
    for name, value in form.items():
        whole, bracket, member = name.removesuffix("]").partition("[")
        if bracket:
            objects.setdefault(whole, {})[member] = value
        else:
            fields[name] = value
    for name in fields.keys() & objects.keys():
        raise InvalidRequest(f"send {name} once", code="invalid_field", param=name)
    return validated(FileFields, fields | objects, strict=False)
