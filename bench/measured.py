"""What a measurement found."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import quantiles


@dataclass(frozen=True)
class Measured:
    """One way of answering all questions: seconds in all, seconds each, and the answers."""

    name: str
    seconds: float
    latencies: list[float]
    answers: list[str]

    @property
    def jobs_per_second(self) -> float:
        """Questions answered per second."""
        return len(self.answers) / self.seconds

    def latency_ms(self, percent: int) -> float:
        """The latency that ``percent`` per cent of the questions stayed under, in milliseconds."""
        return 1000 * quantiles(self.latencies, n=100, method="inclusive")[percent - 1]
