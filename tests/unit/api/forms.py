"""Forms as browsers write them; what Flask's client writes of empty parts is no form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

BOUNDARY = "----a-boundary-that-no-part-has"
MIME = f"multipart/form-data; boundary={BOUNDARY}"

File = tuple[str, bytes]


def written(parts: Mapping[str, str | File]) -> bytes:
    """Return the body of a form with fields, and files by their names and contents."""
    return written_in_order(parts.items())


def written_in_order(parts: Iterable[tuple[str, str | File]]) -> bytes:
    """Return the body of a form some of whose parts may have the same name."""
    lines: list[bytes] = []
    for name, part in parts:
        filename, content = (None, part.encode()) if isinstance(part, str) else part
        named = f'; filename="{filename}"' if filename is not None else ""
        disposition = f'Content-Disposition: form-data; name="{name}"{named}'
        lines += [b"--" + BOUNDARY.encode(), disposition.encode(), b"", content]
    return b"\r\n".join([*lines, b"--" + BOUNDARY.encode() + b"--", b""])
