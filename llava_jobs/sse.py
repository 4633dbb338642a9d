"""Server-sent events, read as the HTML standard has them (html.spec.whatwg.org, section 9.2)."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True)
class Message:
    """One event: its id, empty where it has none, its name and its data."""

    id: str
    event: str
    data: str


def messages(chunks: Iterable[bytes]) -> Iterator[Message | None]:
    """Yield the events of a stream that comes in any chunks of bytes; None for each comment."""
    fields: dict[str, str] = {}
    data: list[str] = []
    for line in _lines(chunks):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                event = fields.get("event", "message")
                yield Message(fields.get("id", ""), event, "\n".join(data))
            fields, data = {}, []
        elif not name:
            yield None
        elif name == "data":
            data.append(value)
        else:
            fields[name] = value


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines that have ended; other characters at which Python splits are part of them."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
    rest, after_return = "", False
    for chunk in chunks:
        text = decoder.decode(chunk)
        if not text:
            continue
        if after_return:  # its line has been yielded
            text = text.removeprefix("\n")
        after_return = text.endswith("\r")
        *lines, rest = _LINE_END.split(rest + text)
        yield from lines
