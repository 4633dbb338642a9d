"""Results on disk at once, a line of JSON each: a run that dies leaves what it found."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Record = dict[str, Any]
STARTED = "started"
"""The part of the first record, which says what is run."""


class Journal:
    """Appends records to a file; `say` is told of each."""

    def __init__(self, path: Path, say: Callable[[str], object]) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._say = say
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began

    def write(self, part: str, **fields: Any) -> None:
        """Write one record of a part, down to the disk."""
        record = {"part": part, "at_s": round(self.seconds, 2), **fields}
        line = json.dumps(record, ensure_ascii=False, default=str)
        self._file.write(line + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._say(line)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read(path: Path) -> list[Record]:
    """Return the records of a journal, of one that broke off in a line those before it."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records
