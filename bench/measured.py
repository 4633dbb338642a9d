"""What a measurement found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import quantiles

from bench.workload import Question


@dataclass(frozen=True)
class Measured:
    """One way of answering all questions: seconds in all, seconds each, and the answers.

    `stages` are, where the way tells them, milliseconds of each job by stage; `cpu` is processor
    seconds in all by role of process, the callers' as `client`; `rates` are the jobs a second of
    all turns, in ascending order, where there were several and this is the median one; `tokens` are
    those of all answers; `alike` is how many characters of an answer are compared with others',
    where not all of it is.
    """

    name: str
    seconds: float
    latencies: list[float]
    answers: list[str]
    stages: Sequence[Mapping[str, float]] = ()
    cpu: Mapping[str, float] = field(default_factory=dict)
    rates: Sequence[float] = ()
    tokens: int = 0
    alike: int | None = None

    @property
    def jobs_per_second(self) -> float:
        """Questions answered per second."""
        return len(self.answers) / self.seconds

    @property
    def tokens_per_second(self) -> float:
        """Tokens answered per second."""
        return self.tokens / self.seconds

    @property
    def server_cpu(self) -> float:
        """Processor seconds of all that answered; those who asked are not among it."""
        return sum(seconds for role, seconds in self.cpu.items() if role != "client")

    def latency_ms(self, percent: int) -> float:
        """The latency that ``percent`` per cent of the questions stayed under, in milliseconds."""
        if len(self.latencies) < 2:
            return 1000 * self.latencies[0]
        return 1000 * quantiles(self.latencies, n=100, method="inclusive")[percent - 1]

    def cpu_ms(self, role: str) -> float:
        """Processor milliseconds that a job cost the processes of a role."""
        return 1000 * self.cpu.get(role, 0.0) / len(self.answers)


def median_of(turns: Sequence[Measured]) -> Measured:
    """Return the turn with the median rate, which knows all rates; of an even number the slower."""
    ranked = sorted(turns, key=lambda turn: turn.jobs_per_second)
    rates = [turn.jobs_per_second for turn in ranked]
    return replace(ranked[(len(ranked) - 1) // 2], rates=rates)


Done = Callable[[], object]
Run = Callable[[Sequence[Question], int, Done], Measured]
"""Answers questions with so many in flight at most; the last argument is called after each."""
