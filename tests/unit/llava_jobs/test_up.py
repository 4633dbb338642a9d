"""An installation stops when it is told to, whatever it does at that moment."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.settings import Settings
from llava_jobs import up
from llava_jobs.up import Plan, Up


@pytest.fixture
def told() -> Iterator[list[Up]]:
    """What a signal stops: the last one in the list."""
    those: list[Up] = []
    before = signal.signal(signal.SIGUSR1, lambda *_: those[-1].stop())
    yield those
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.timeout(60, method="thread")
def test_a_signal_stops_it_at_any_moment(
    told: list[Up], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "_TICK_S", 0)  # so that it is seldom asleep when the signal comes
    for moment in range(100):
        told.append(Up(Plan("127.0.0.1", 1, tmp_path, 1, Settings()), print))
        teller = threading.Timer(moment / 50_000, os.kill, (os.getpid(), signal.SIGUSR1))
        teller.start()
        told[-1].watch()
        teller.join()
