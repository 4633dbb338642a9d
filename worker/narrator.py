"""The narrator: writes what running jobs say, for those that somebody listens to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from jobs.background import Background
from jobs.errors import JobsError
from jobs.job import Claim
from jobs.pieces import Piece, Pieces

PAUSE_S = 0.05
"""Between two writes: one for the pieces of all jobs, so that a token costs the store nothing."""
AGAIN_S = 0.5
"""Before the next try where the store is away."""

Listen = Callable[[Callable[[str], object]], object]
_log = structlog.get_logger()


@dataclass
class _Speaker:
    """A running job; ``said`` is what is not written yet, from ``offset`` characters on."""

    claim: Claim
    wanted: bool
    listen: Listen | None = None
    offset: int = 0
    said: list[str] = field(default_factory=list)


class Narrator(Background):
    """A thread that writes the pieces of all running jobs together, never in the engine's step.

    A job that nobody listens to is not read while it runs, and costs nothing.
    """

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._speakers: dict[int, _Speaker] = {}
        self._turn = threading.Condition()
        super().__init__("narrator")

    def _wake(self) -> None:
        with self._turn:
            self._turn.notify()

    def attend(self, claim: Claim) -> None:
        """Know of a job that has been claimed."""
        with self._turn:
            self._speakers[claim.fence] = _Speaker(claim, claim.listened)

    def hear(self, claim: Claim, listen: Listen) -> None:
        """Take a job's way to be listened to; done at once where somebody wants it already."""
        with self._turn:
            speaker = self._speakers[claim.fence]
            speaker.listen = listen
            wanted = speaker.wanted
        if wanted:
            self._begin(speaker, listen)

    def leave(self, claim: Claim) -> None:
        """Forget a job; what it said last is in its answer."""
        with self._turn:
            self._speakers.pop(claim.fence, None)

    def heard(self, job_id: str, word: str, tenant: str) -> None:
        """Begin to tell a job the moment that somebody listens to it."""
        del tenant
        if word != "listen":
            return
        with self._turn:
            asked = [s for s in self._speakers.values() if s.claim.job.id == job_id]
            new = [(s, s.listen) for s in asked if not s.wanted]
            for speaker, _ in new:
                speaker.wanted = True
        for speaker, listen in new:
            if listen is not None:
                self._begin(speaker, listen)

    def _begin(self, speaker: _Speaker, listen: Listen) -> None:
        """Outside the lock, which the engine's thread takes while it holds the answer's own."""
        listen(lambda piece: self._say(speaker, piece))

    def _say(self, speaker: _Speaker, piece: str) -> None:
        with self._turn:
            speaker.said.append(piece)
            self._turn.notify()

    def _run(self) -> None:
        while not self._closed.is_set():
            with self._turn:
                self._turn.wait_for(lambda: self._closed.is_set() or self._unwritten())
                told = [(speaker, "".join(speaker.said)) for speaker in self._unwritten()]
                for speaker, text in told:
                    speaker.said[:] = [text]
            if told:
                self._closed.wait(PAUSE_S if self._write(told) else AGAIN_S)

    def _unwritten(self) -> list[_Speaker]:
        return [speaker for speaker in self._speakers.values() if speaker.said]

    def _write(self, told: list[tuple[_Speaker, str]]) -> bool:
        """Write what has been said; False where it stays to be written."""
        try:
            refused = self._pieces.say([_piece(speaker, text) for speaker, text in told])
        except JobsError as error:
            _log.warning("pieces_not_written", code=error.code)
            return False
        except Exception as error:  # noqa: BLE001 - without this thread nobody would hear anything
            _log.error("pieces_not_written", error=type(error).__name__, exc_info=True)
            return False
        with self._turn:
            for speaker, text in told:
                del speaker.said[0]
                speaker.offset += len(text)
                if speaker.claim.job.id in refused:
                    self._speakers.pop(speaker.claim.fence, None)
        return True


def _piece(speaker: _Speaker, text: str) -> Piece:
    return Piece(speaker.claim.job.id, speaker.claim.fence, speaker.offset, text)
