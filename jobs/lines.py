"""The lines of a file, read no more than a line and a block at a time."""

from __future__ import annotations

from collections.abc import Iterator

from jobs.errors import InvalidRequest
from jobs.files import File, Files

BLOCK_BYTES = 64 * 1024


def lines(files: Files, file: File, offset: int, most_bytes: int) -> Iterator[tuple[bytes, int]]:
    """Yield the lines from ``offset`` on without their ends, and where the next of each begins.

    Raises InvalidRequest at a line of more than ``most_bytes``.
    """
    held = bytearray()
    while block := files.read(file, offset + len(held), BLOCK_BYTES):
        held += block
        if b"\n" in block:
            *whole, rest = held.split(b"\n")
            for line in whole:
                offset += len(line) + 1
                yield bytes(line), offset
            held = rest
        if len(held) > most_bytes:
            raise InvalidRequest(
                f"a line may have at most {most_bytes} bytes", code="line_too_large"
            )
    if held:
        yield bytes(held), offset + len(held)
