"""A child process of `llava-jobs up`: started, watched, restarted with backoff, stopped."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten

_FIRST_BACKOFF_S = 1.0
_LONGEST_BACKOFF_S = 30.0
_STEADY_S = 60.0
_LONGEST_WORDS = 200
_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Have the kernel stop this process when its parent dies, however that dies (Linux only).

    The kernel goes by the thread that started the process: start it from the main thread, or from
    one that outlives it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def own_imports() -> dict[str, str]:
    """Return the environment in which a child finds this installation's packages before others.

    gunicorn and Celery look into the current folder first, which may well have an ``api`` or a
    ``worker`` of its own. It comes last here, and neither puts it first where it is there already.
    """
    ours = str(Path(__file__).parents[1])
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    folders = dict.fromkeys([ours, *filter(None, given), os.getcwd()])
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(folders)}


class Child:
    """One process: its command, its log file, and when it may be started again."""

    def __init__(self, name: str, command: list[str], env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._env = {**os.environ, **own_imports(), **env}
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._restart_at = 0.0
        self._backoff = _FIRST_BACKOFF_S

    @property
    def pid(self) -> int | None:
        """The id of the process that runs; None where none does."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process; what it prints goes to its log."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - the command is our own
                self._command,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the owner, who stops its children in order
                preexec_fn=end_with_parent,
            )
        self._started = time.monotonic()

    def exit_status(self) -> int | None:
        """Return how the process ended, once; None while it runs or waits to be started again."""
        if self._process is None:
            return None
        status = self._process.poll()
        if status is not None:
            self._process = None
        return status

    def schedule_restart(self) -> float:
        """Plan the next start and return the seconds until then."""
        if time.monotonic() - self._started > _STEADY_S:
            self._backoff = _FIRST_BACKOFF_S
        wait = self._backoff
        self._backoff = min(2 * wait, _LONGEST_BACKOFF_S)
        self._restart_at = time.monotonic() + wait
        return wait

    def start_if_due(self) -> bool:
        """Start the process again where its time has come; True where it did."""
        if self._process is not None or time.monotonic() < self._restart_at:
            return False
        self.start()
        return True

    def terminate(self) -> None:
        """Ask the process to end."""
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def join(self, timeout_s: float) -> None:
        """Wait for the process to end, and end it where it has not after ``timeout_s``."""
        if self._process is None:
            return
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def last_words(self) -> str:
        """Return the last line that the process wrote."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it wrote nothing"

    def describe_exit(self, status: int) -> str:
        """Return in words how the process ended, with what it wrote last but for its log lines."""
        if status < 0:
            return f"was ended by signal {-status} ({signal.strsignal(-status)})"
        words = self.last_words()
        said = "" if words.startswith("{") else f" ({shorten(words, _LONGEST_WORDS)})"
        return f"ended with status {status}{said}"
