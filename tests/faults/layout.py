"""What an installation has besides what all have, as a fault needs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.previous import release


@dataclass(frozen=True)
class Layout:
    """A replica of the store, a store whose clock can be moved, processes of the release before."""

    replica: bool = False
    clock: bool = False
    previous: bool = False

    @property
    def lacks(self) -> str | None:
        """What this machine has not, and how to get it."""
        if self.clock and clock_library() is None:
            return "no libfaketime to move a store's clock with: run tests/fetch-tools"
        return release.lacks() if self.previous else None


PLAIN = Layout()
"""An installation with nothing besides."""


def clock_library() -> Path | None:
    """The library that moves the clock of a process by what a file says."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return found[0] if found else None
