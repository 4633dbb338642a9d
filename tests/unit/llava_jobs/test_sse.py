"""Server-sent events are read as the HTML standard has them, however they are cut on the way."""

import json
from collections.abc import Iterator

import pytest

from llava_jobs.sse import Message, messages

SEPARATORS = "\u2028\u2029\u0085\x0b\x0c\x1c\x1d\x1e"
"""Characters at which Python's `splitlines` ends a line, and the standard does not."""
TEXT = f"Größe 代码 \U0001f600 {SEPARATORS} end"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_the_same_at_any_line_end_and_in_any_chunks(end: str, size: int) -> None:
    data = json.dumps({"text": TEXT}, ensure_ascii=False)
    lines = ["retry: 1000", "", "id: a", "event: token", f"data: {data}", "", ": still here", ""]
    sent = "".join(line + end for line in [*lines, "data:first", "data: second", "", "data: cut"])
    stream = sent.encode()
    chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert list(messages(chunks)) == [
        Message("a", "token", data),
        None,
        Message("", "message", "first\nsecond"),
    ]


def test_an_event_is_there_as_soon_as_its_last_line_has_ended() -> None:
    sent: list[bytes] = []

    def chunks() -> Iterator[bytes]:
        for chunk in (b"data: 1\r", b"\r", b"\ndata: 2\n\n"):
            sent.append(chunk)
            yield chunk

    found = messages(chunks())
    assert next(found) == Message("", "message", "1")
    assert len(sent) == 2
    assert next(found) == Message("", "message", "2")
