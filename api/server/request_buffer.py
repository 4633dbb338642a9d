"""A request on its way in: what has come of it, and how long the rest may take."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from enum import Enum, auto

MOST_HEAD_BYTES = 65_536
HELD_BYTES = 65_536
"""As much of a body is waited for without a thread; more is read by one."""
FIRST_S = 10.0
BYTES_PER_S = 8_192
"""A sender has ``FIRST_S`` seconds, and as many more as its bytes take at this rate."""

_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
_BODY = re.compile(rb"\r\n(?:content-length|transfer-encoding|expect)", re.IGNORECASE)


class Stage(Enum):
    """How far a request has come."""

    COMING = auto()
    WHOLE = auto()
    LONG = auto()
    """Its body is longer than is held, or of a length that is not told."""
    OVERLONG = auto()
    """Its head has no end."""


class Arrival:
    """A request as far as it has come.

    This only decides when a thread takes it up. What the bytes mean is read by gunicorn's parser
    alone, from the first one on, so that the two cannot be played off against each other. A body
    that is said to be longer than ``most_body`` is not waited for: it is to be refused.
    """

    def __init__(
        self,
        received: bytes,
        most_body: int = 1 << 40,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.count = 0
        self.has_place = False
        """Whether it counts among those whose bodies threads read; kept by its worker."""
        self._most_body = most_body
        self._clock = clock
        self._began = clock()
        self._held = bytearray()
        self._whole: int | None = None
        self._is_long = False
        self.take(received)

    def take(self, data: bytes) -> None:
        """Add what has come."""
        searched = max(0, len(self._held) - len(_END) + 1)
        self._held += data
        self.count += len(data)
        end = -1 if self._whole is not None else self._held.find(_END, searched)
        if end >= 0:
            self._whole = end + len(_END) + self._body_length(bytes(self._held[: end + 2]))

    def give(self) -> bytes:
        """Return what has come, to be read by a thread, and hold it no longer."""
        given, self._held = bytes(self._held), bytearray()
        return given

    def read_on(self, size: int) -> None:
        """Count bytes that a thread has read after those that were held."""
        self.count += size

    @property
    def stage(self) -> Stage:
        """How far it has come."""
        if self._whole is None:
            return Stage.OVERLONG if self.count > MOST_HEAD_BYTES else Stage.COMING
        if self.is_whole:
            return Stage.WHOLE
        return Stage.LONG if self._is_long or self.count > HELD_BYTES else Stage.COMING

    @property
    def is_whole(self) -> bool:
        """Whether all of it has come, where its length is told."""
        return self._whole is not None and not self._is_long and self.count >= self._whole

    @property
    def is_short(self) -> bool:
        """Whether less of it has come than it was said to have."""
        return self._whole is not None and self.count < self._whole

    @property
    def age_s(self) -> float:
        """How many seconds ago it began."""
        return self._clock() - self._began

    @property
    def left_s(self) -> float:
        """How many seconds are left for the rest; a sender that is quick enough always has some."""
        return FIRST_S + self.count / BYTES_PER_S - self.age_s

    def _body_length(self, head: bytes) -> int:
        if not _BODY.search(head):
            return 0
        lengths = _LENGTH.findall(head)
        # Whoever expects "100 Continue" sends nothing before a thread has answered that.
        length = int(lengths[0]) if lengths else 0
        is_plain = len(lengths) == len(_BODY.findall(head)) == 1
        self._is_long = not is_plain or length > self._most_body
        return length
