"""Server-sent events, as any client reads them."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple


class Told(NamedTuple):
    """One event."""

    kind: str
    id: str
    data: Any


def events(lines: Iterable[str]) -> Iterator[Told]:
    """The events among the lines of a stream; comments and the rest are left out."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        else:
            if "data" in fields:
                yield Told(fields["event"], fields["id"], json.loads(fields["data"]))
            fields = {}


def text_of(told: Iterable[Told]) -> str:
    """The answer that a caller has, who drops what it had where it is told to."""
    text = ""
    for event in told:
        if event.kind == "status" and event.data["restart"]:
            text = ""
        elif event.kind == "token":
            text += event.data["text"]
    return text
