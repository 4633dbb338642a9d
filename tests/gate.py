"""A gate that a test closes, so that a job runs for as long as the test wants and no longer.

While it is closed, no answer of a worker that obeys it (`tests.gated`) goes beyond its first
tokens: the job is processing, its lease is renewed, it can be cancelled, drained or followed. When
the test opens the gate, the answers go on to their ends.

TEST_MODEL_SPEED is how fast the model of such a worker is, measured by what it is on this machine:
with 10 a long answer is over after a tenth of the steps, with 0.1 each step takes ten times as
long. Where it is set, all workers of installations are such workers, and the suite is to pass:

    TEST_MODEL_SPEED=10 make test
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path

GATE = "TEST_GATE"
"""Environment variable that names the gate's file, for workers."""
SPEED = float(os.environ.get("TEST_MODEL_SPEED") or 1)
BEGINNING = 8
"""Tokens of an answer that a closed gate lets through."""


class Gate:
    """The gate whose file is there while it is closed, and says how far answers may go."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @property
    def tokens(self) -> float:
        """How many tokens an answer may have by now."""
        try:
            return int(self._file.read_text())
        except FileNotFoundError:
            return math.inf

    def close(self, tokens: int = BEGINNING) -> None:
        """Let no answer have more than so many tokens."""
        new = self._file.with_suffix(".new")
        new.write_text(str(tokens))
        new.replace(self._file)

    def open(self) -> None:
        """Let all answers go on to their ends."""
        self._file.unlink(missing_ok=True)


def gated(command: Iterable[str]) -> list[str]:
    """The command of a worker that obeys the gate, from that of one as it is shipped."""
    words = list(command)
    if "-A" in words:
        words[words.index("-A") + 1] = "tests.gated"
    return words
