"""Who has computed how much, and whether anybody does."""

from itertools import accumulate

import pytest

from bench import processes


def test_a_turn_begins_once_nobody_computes_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    used = accumulate([0.5, 0.5, 0.5, 0.4, 0.5, 0.01, 0.5])  # seconds, one look after the other
    looks: list[float] = []

    def look() -> float:
        looks.append(next(used))
        return looks[-1]

    monkeypatch.setattr(processes, "machine_cpu_seconds", look)
    monkeypatch.setattr("time.sleep", lambda _: None)
    processes.wait_until_quiet()
    assert len(looks) == 6


def test_a_machine_that_stays_busy_is_waited_for_no_longer_than_said() -> None:
    processes.wait_until_quiet(cores=0.0, at_most_s=0.0)
