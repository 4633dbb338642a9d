"""Following what running jobs say: one thread and one connection of the store for all callers."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, field

import structlog

from jobs.background import Background
from jobs.errors import JobsError
from jobs.job import Status
from jobs.pieces import START, Piece, Pieces

WAIT_MS = 100
"""How long one read waits: a job that a caller begins to follow meanwhile joins the next one."""
AGAIN_S = 0.5
_STATES = frozenset(Status)
_log = structlog.get_logger()


@dataclass
class _Speech:
    """What one attempt at a job has said, as far as it was heard without a gap."""

    cursor: str = START
    fence: int = 0
    text: str = ""

    def take(self, cursor: str, piece: Piece) -> None:
        """Add a piece: an attempt after the one heard begins anew, what is known is known."""
        self.cursor = cursor
        if piece.fence > self.fence:
            self.fence, self.text = piece.fence, ""
        if piece.fence == self.fence and piece.offset <= len(self.text):
            self.text += piece.text[len(self.text) - piece.offset :]


@dataclass(eq=False)
class Ear:
    """What one caller hears of a job; ``speaker`` is the job that does the work for it."""

    job: str
    speaker: str
    speech: _Speech
    woken: threading.Event = field(default_factory=threading.Event)
    _changed: bool = True

    @property
    def text(self) -> str:
        """What the speaker has said so far."""
        return self.speech.text

    @property
    def has_changed(self) -> bool:
        """Whether the job, or the one that works for it, may have changed since this was asked."""
        changed, self._changed = self._changed, False
        return changed

    def wake(self, *, changed: bool = False) -> None:
        """Have ``wait`` return."""
        self._changed = self._changed or changed
        self.woken.set()

    def wait(self, seconds: float) -> None:
        """Wait until there is something new, at most so long."""
        self.woken.wait(seconds)
        self.woken.clear()


class Following(Background):
    """Callers that follow jobs; one thread hears for all of them."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._ears: dict[str, set[Ear]] = defaultdict(set)
        self._speeches: dict[str, _Speech] = {}
        self._turn = threading.Condition()
        super().__init__("following")

    def _wake(self) -> None:
        with self._turn:
            self._turn.notify()

    def follow(self, job_id: str) -> Ear:
        """Hear of a job from now on, until ``leave``."""
        with self._turn:
            ear = Ear(job_id, job_id, self._speech(job_id))
            self._ears[job_id].add(ear)
            return ear

    def turn_to(self, ear: Ear, speaker: str) -> None:
        """Hear what another job says, which does the work for this one."""
        if speaker == ear.speaker:
            return
        with self._turn:
            self._forget(ear, ear.speaker)
            ear.speaker, ear.speech = speaker, self._speech(speaker)
            for name in (ear.job, speaker):
                self._ears[name].add(ear)

    def leave(self, ear: Ear) -> None:
        """Hear for this caller no longer."""
        with self._turn:
            for name in {ear.job, ear.speaker}:
                self._forget(ear, name)

    def heard(self, job_id: str, word: str, tenant: str) -> None:
        """Wake whoever follows a job that has changed, or the one that works for it."""
        del tenant
        if word not in _STATES:
            return
        with self._turn:
            for ear in self._ears.get(job_id, ()):
                ear.wake(changed=True)

    def _speech(self, speaker: str) -> _Speech:
        speech = self._speeches.setdefault(speaker, _Speech())
        self._turn.notify()
        return speech

    def _forget(self, ear: Ear, name: str) -> None:
        self._ears[name].discard(ear)
        if not self._ears[name]:
            del self._ears[name]
            self._speeches.pop(name, None)

    def _run(self) -> None:
        while not self._closed.is_set():
            with self._turn:
                self._turn.wait_for(lambda: self._closed.is_set() or self._speeches)
                speeches = dict(self._speeches)
                cursors = {name: speech.cursor for name, speech in speeches.items()}
            if self._closed.is_set():
                return
            try:
                self._take(self._pieces.after(cursors, WAIT_MS), speeches)
            except JobsError as error:
                _log.warning("pieces_not_heard", code=error.code)
                self._closed.wait(AGAIN_S)
            except Exception as error:  # noqa: BLE001 - without this thread no stream would speak
                _log.error("pieces_not_heard", error=type(error).__name__, exc_info=True)
                self._closed.wait(AGAIN_S)

    def _take(self, found: list[tuple[str, Piece]], asked_for: dict[str, _Speech]) -> None:
        """Add what was found to the speeches that it was asked for.

        One that was begun anew meanwhile is at its start: what is behind the old one's cursor would
        leave a gap in it, which nothing fills.
        """
        with self._turn:
            for cursor, piece in found:
                speech = self._speeches.get(piece.job)
                if speech is not None and speech is asked_for.get(piece.job):
                    speech.take(cursor, piece)
            for name in {piece.job for _, piece in found}:
                for ear in self._ears.get(name, ()):
                    ear.wake()
