"""Every way, with its real processes, answers the same questions alike."""

from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from bench import litserve_peer
from bench.engine_alone import engine_alone
from bench.model import write_model
from bench.plain import plain
from bench.shape import TINY
from bench.throughput import WAYS, Way
from bench.workload import Question, arriving, different_pictures
from tests.conftest import absent
from tests.eventually import eventually


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny", TINY)


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    """Three of different lengths, the last some time after the others."""
    drawn = [replace(q, max_new_tokens=4 + n) for n, q in enumerate(different_pictures(3, 1))]
    return arriving(drawn, rate=20, seed=1)


@pytest.fixture(scope="module")
def known(model: Path, questions: list[Question]) -> list[str]:
    with plain(model) as run:
        return run(questions, 1, lambda: None).answers


def lives(process: psutil.Process) -> bool:
    """Whether a process still runs; one that nobody waited for may stay listed."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_a_way_answers_as_the_plain_script_does(
    way: Way, model: Path, questions: list[Question], known: list[str]
) -> None:
    if way.name == litserve_peer.NAME and find_spec("litserve") is None:
        absent("litserve is not installed: pip install 'llava-jobs[bench]'")
    done: list[None] = []
    this = psutil.Process()
    before = this.children(recursive=True)
    with way.start(model, 2) as run:
        found = run(questions, 2, lambda: done.append(None))
        started = set(this.children(recursive=True)) - set(before)
    eventually(lambda: not any(map(lives, started)), "what a way started ends with it")
    assert found.answers == known
    assert len(set(known)) == len(known)
    assert len(done) == len(found.latencies) == len(questions)
    assert found.name == way.name
    assert max(found.latencies) > 0
    assert found.seconds >= questions[-1].arrives
    assert all(stages["rest"] > 0 for stages in found.stages)


def test_the_engine_alone_answers_alike(
    model: Path, questions: list[Question], known: list[str]
) -> None:
    found = engine_alone(model, questions, 2)
    assert found.answers == known
    assert found.cpu["engine"] > 0
