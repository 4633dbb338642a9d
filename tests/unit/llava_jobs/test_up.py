"""An installation stops when it is told to, whatever it does at that moment."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gunicorn.util import parse_address

from jobs.settings import Settings
from llava_jobs import up
from llava_jobs.child import Child
from llava_jobs.up import Plan, Up
from tests.eventually import eventually


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


@pytest.mark.parametrize(
    ("first", "ports"), [(9464, {"worker-1": "9464", "worker-2": "9465"}), (None, {})]
)
def test_each_worker_shows_its_metrics_on_a_port_of_its_own(
    tmp_path: Path, first: int | None, ports: dict[str, str]
) -> None:
    name = "LLAVA_JOBS_METRICS_PORT"
    up = Up(Plan("127.0.0.1", 1, tmp_path, 2, Settings(metrics_port=first)), print)
    children = up._plan_children("redis://127.0.0.1")
    assert {child.name: child._env[name] for child in children if name in child._env} == ports


@pytest.mark.parametrize(
    ("host", "url", "listens"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000", ("127.0.0.1", 8000)),
        ("0.0.0.0", "http://127.0.0.1:8000", ("0.0.0.0", 8000)),  # noqa: S104
        ("::", "http://[::1]:8000", ("::", 8000)),
        ("::1", "http://[::1]:8000", ("::1", 8000)),
        ("panels.test", "http://panels.test:8000", ("panels.test", 8000)),
    ],
)
def test_an_address_is_written_as_urls_and_gunicorn_have_it(
    tmp_path: Path, host: str, url: str, listens: tuple[str, int]
) -> None:
    plan = Plan(host, 8000, tmp_path, 1, Settings())
    assert plan.url == url
    assert httpx.URL(plan.url).port == 8000
    assert parse_address(plan.bind) == listens


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo cannot load the model; exit 3", "ended with status 3 (cannot load the model)"),
        ("""echo '{"event": "job_ended"}'; exit 3""", "ended with status 3"),
        ("kill -9 $$", "was ended by signal 9 (Killed)"),
    ],
)
def test_how_a_child_ended_is_told_in_words_and_not_in_its_log_lines(
    tmp_path: Path, script: str, said: str
) -> None:
    child = Child("worker-1", ["sh", "-c", script], {}, tmp_path / "log")
    child.start()
    status = eventually(child.exit_status, "it ends")
    assert child.describe_exit(status) == said
