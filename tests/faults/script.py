"""What a question tells the scripted engine to do, and what its answer is to be."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

ACTED = "FAULTS_ACTED"
"""Environment variable that names the folder where engines note which scripts have acted."""


class Act(StrEnum):
    """What the engine does when an answer is due."""

    ANSWER = "answer"
    DIE = "die"
    """The process is killed as by the kernel, in the middle of a step."""
    DIE_UNACKNOWLEDGED = "die-unacknowledged"
    """It is killed when the job has ended in the ledger and its hint is not acknowledged."""
    HANG = "hang"
    """The step never ends."""
    RAISE_MEMORY_ERROR = "raise-memory-error"
    """The task raises MemoryError."""
    RUN_OUT_OF_MEMORY = "run-out-of-memory"
    """The device has no memory left for this job."""
    FAIL = "fail"
    """The engine fails with all that it has in hand, and takes nothing more."""


@dataclass(frozen=True)
class Script:
    """A question to the scripted engine: act after so many milliseconds.

    Where ``times`` attempts have acted, further ones answer; 0 is every time.
    """

    number: int
    milliseconds: int
    act: Act = Act.ANSWER
    times: int = 1

    @property
    def question(self) -> str:
        """The script as a text that no other script has."""
        return f"{self.milliseconds} ms, {self.act} {self.times} #{self.number}"

    @classmethod
    def of(cls, question: str) -> Script:
        """Read a question."""
        told, number = question.split(" #")
        wait, act = told.split(" ms, ")
        name, times = act.split(" ")
        return cls(int(number), int(wait), Act(name), int(times))


def answer_to(question: str, tenant: str) -> str:
    """The one right answer to a tenant's question."""
    return hashlib.sha256(f"{tenant} {question}".encode()).hexdigest()[:16]
