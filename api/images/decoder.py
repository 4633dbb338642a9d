"""One decoding process (``api.images.decoder_process``), and our end of the socket to it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from api.images.decoder_protocol import Limits, receive_frame, send_frame

START_TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 128 << 20
KEPT_ENVIRONMENT = ("LD_LIBRARY_PATH", "PYTHONHOME")
_ENDED_FOR_TIME = (-signal.SIGPROF, -signal.SIGXCPU)


class NotStarted(Exception):
    """Raised when a decoder's interpreter does not come up, or not in time."""


class OutOfTime(Exception):
    """Raised when decoding took too long: ``spent_s`` seconds of processor.

    ``early`` says that the kernel ended it, and not we, who had waited for long enough.
    """

    def __init__(self, spent_s: float, *, early: bool) -> None:
        super().__init__()
        self.spent_s = spent_s
        self.early = early


class Decoder:
    """A decoding process: asked by one thread at a time, and ended by any."""

    def __init__(self, program: Sequence[str], limits: Limits) -> None:
        self._program = program
        self._limits = json.dumps(asdict(limits))
        self._ending = threading.Lock()
        self.start()

    def start(self) -> None:
        """Start the process, and do not wait: it gets ready while the server goes on."""
        self._ready = False
        self._used_s = self._spent_s = 0.0
        self._socket, theirs = socket.socketpair()
        with theirs:
            # Not the server's environment, which holds the secrets of its settings.
            environment = {k: os.environ[k] for k in KEPT_ENVIRONMENT if k in os.environ}
            environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, sys.path))
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-P", *self._program, str(theirs.fileno()), self._limits],
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )

    def ask(self, data: bytes, timeout_s: float) -> tuple[dict[str, Any], bytes]:
        """Return the answer to an upload: its header and body.

        Raises OutOfTime; EOFError or OSError where the process has ended; ValueError or TypeError
        where the answer makes no sense; NotStarted.
        """
        self._await_ready()
        deadline = time.monotonic() + timeout_s
        try:
            self._socket.settimeout(timeout_s)
            send_frame(self._socket, {}, data)
            header, body = receive_frame(self._socket, MAX_ANSWER_BYTES, deadline)
        except TimeoutError:
            self.end()
            raise OutOfTime(self._spent_s, early=False) from None
        except (EOFError, ConnectionError):
            if self.end() in _ENDED_FOR_TIME:
                raise OutOfTime(self._spent_s, early=True) from None
            raise
        self._used_s = float(header.get("used_s", self._used_s))
        return header, body

    def end(self) -> int:
        """End the process, if it has not ended yet; returns its status, as Popen has it."""
        with self._ending:
            # Not by Popen, which would drop what the process has used.
            if self._process.returncode is None:
                os.kill(self._process.pid, signal.SIGKILL)
                _, status, usage = os.wait4(self._process.pid, 0)
                self._process.returncode = os.waitstatus_to_exitcode(status)
                self._spent_s = usage.ru_utime + usage.ru_stime - self._used_s
            return int(self._process.returncode)

    def disconnect(self) -> None:
        """Close our end of the socket."""
        self._socket.close()

    def _await_ready(self) -> None:
        if self._ready:
            return
        try:
            header, _ = receive_frame(self._socket, 0, time.monotonic() + START_TIMEOUT_S)
            self._used_s = float(header["used_s"])
        except (OSError, EOFError, LookupError, TypeError, ValueError) as error:
            raise NotStarted from error
        self._ready = True
