"""A process's pulse: a file that it touches while it is well, for supervisors to look at.

`python -m jobs.pulse` looks at the file that LLAVA_JOBS_PULSE_FILE names: status 0 where its
process touched it within a minute, else 1 and a line that says why.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import structlog

from jobs.errors import ConfigurationError
from jobs.settings import Settings

LIMIT_S = 60.0
"""Longer than any one call to a store that is away takes, and than a drain."""
_BETWEEN_S = 1.0
_log = structlog.get_logger()


class Pulse:
    """The pulse of this process; with no file it is not to be felt.

    Raises ConfigurationError where there can be no such file.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._last = 0.0
        # A container that starts again may find the file of the process before it.
        self.end()
        if file is not None and not file.parent.is_dir():
            raise ConfigurationError("LLAVA_JOBS_PULSE_FILE is in a folder that is not there")

    def beat(self) -> None:
        """Say that this process is well; oftener than once a second costs nothing."""
        now = time.monotonic()
        if self._file is None or now - self._last < _BETWEEN_S:
            return
        self._last = now
        try:
            self._file.touch()
        except OSError as error:
            _log.error("pulse_failed", error=type(error).__name__)

    def end(self) -> None:
        """Say that this process takes up nothing more."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)


def complaint(file: Path | None) -> str | None:
    """Return what is wrong with the process whose file this is; None where nothing is."""
    if file is None:
        return "no pulse to feel: set LLAVA_JOBS_PULSE_FILE as for the process"
    try:
        age = time.time() - file.stat().st_mtime
    except FileNotFoundError:
        return "no pulse yet, or no more: the process starts, or ends"
    return f"the last pulse was {age:.0f} s ago" if age > LIMIT_S else None


def main() -> None:
    """Look once; the status says what was found."""
    found = complaint(Settings().pulse_file)
    if found:
        print(found)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
