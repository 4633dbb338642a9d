"""Forms with files (multipart/form-data, RFC 7578), read by the `multipart` package.

Werkzeug's own parser compiles two regular expressions for each form, as each has a boundary of its
own. That takes most of its time, and a sixth of what it takes to accept a job.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from io import BytesIO
from typing import IO, Any, cast

import flask
from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser
from werkzeug.datastructures import FileStorage, Headers, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header

from api.http import body_budget
from jobs.errors import MalformedRequest

_CHARSETS = frozenset({"ascii", "us-ascii", "utf-8", "iso-8859-1"})

Form = tuple[IO[bytes], MultiDict[str, str], MultiDict[str, FileStorage]]


class FormParser(FormDataParser):
    """Parses forms as werkzeug's does, and gives what it gives."""

    def parse(
        self,
        stream: IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str] | None = None,
    ) -> Form:
        """Return the stream, the fields and the files of a form.

        Raises RequestEntityTooLarge where it has too many parts, or one with too much text;
        MalformedRequest where it cannot be read.
        """
        if mimetype != "multipart/form-data":
            return super().parse(stream, mimetype, content_length, options)
        fields: list[tuple[str, str]] = []
        files: list[tuple[str, FileStorage]] = []
        try:
            for part, filename, held in self._parts(stream, (options or {}).get("boundary", "")):
                if filename is None:
                    text = held.read().decode(_charset(part), "replace")
                    fields.append((part.name, text))
                else:
                    headers = Headers(part.headerlist)
                    file = FileStorage(held, filename, part.name, headers=headers)
                    files.append((part.name, file))
        except ParserLimitReached:
            raise RequestEntityTooLarge from None
        except MultipartError:
            raise MalformedRequest("the form cannot be read") from None
        return stream, self.cls(fields), self.cls(files)

    def _parts(
        self, stream: IO[bytes], boundary: str
    ) -> Iterator[tuple[Any, str | None, IO[bytes]]]:
        """Yield each part with the name of its file, None where it is a field, and its bytes."""
        most_parts, most_text = (
            math.inf if limit is None else limit
            for limit in (self.max_form_parts, self.max_form_memory_size)
        )
        parser = PushMultipartParser(boundary, max_segment_count=most_parts)
        part: Any = None
        filename: str | None = None
        held: IO[bytes] = BytesIO()
        for event in parser.parse_blocking(stream.read):
            if isinstance(event, MultipartSegment):
                part, filename = event, _filename(event)
                held = BytesIO() if filename is None else self._file(part)
            elif event is None:
                held.seek(0)
                yield part, filename, held
            else:
                held.write(event)
                if filename is None and part.bytes_received > most_text:
                    raise RequestEntityTooLarge

    def _file(self, part: Any) -> IO[bytes]:
        return self.stream_factory(
            total_content_length=None,
            content_type=part.content_type,
            filename=part.filename,
            content_length=None,
        )


class Request(flask.Request):
    """A request whose forms are read by ``FormParser``, and their files kept in memory alone."""

    form_data_parser_class = FormParser

    def _load_form_data(self) -> None:
        body_budget.hold()
        super()._load_form_data()

    def _get_file_stream(self, *_: object, **__: object) -> IO[bytes]:
        return BytesIO()


def taken(part: FileStorage) -> bytes:
    """Return the bytes of a file of a form, which holds them no longer."""
    held = cast("BytesIO", part.stream)
    # Unlike read(), this makes no copy.
    data = held.getvalue()
    held.close()
    return data


def _filename(part: Any) -> str | None:
    """Return the name of a part that is a file; ``filename*`` is no more in use, but understood."""
    if part.filename is None and "filename*" in part["Content-Disposition"].lower():
        return parse_options_header(part["Content-Disposition"])[1].get("filename")
    name: str | None = part.filename
    return name


def _charset(part: Any) -> str:
    named = (part.charset or "").lower()
    return named if named in _CHARSETS else "utf-8"
