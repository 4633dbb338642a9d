"""Compiled functions run on the threads that torch has anyway."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ctypes import create_string_buffer
from pathlib import Path
from struct import unpack
from typing import Any

import pytest
import torch

from tests.eventually import eventually
from worker.engine.attention.cpu import Cpu
from worker.engine.attention.native import openmp
from worker.engine.attention.native.compiling import address
from worker.engine.attention.native.simd import take

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")


@pytest.fixture(params=[2, 3])
def wanted(request: pytest.FixtureRequest) -> int:
    wanted: int = request.param
    return wanted


@contextmanager
def torch_threads(wanted: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(wanted)
    yield
    torch.set_num_threads(before)


def threads() -> set[str]:
    return {path.name for path in Path("/proc/self/task").iterdir()}


def count(arguments: Any) -> None:
    take(arguments, 1)


def calls(size: int) -> int:
    """How many threads call a function that has so much to do."""
    buffer = create_string_buffer(16)
    openmp.run(address(count), buffer, size)
    return int(unpack("qq", buffer.raw)[1])


def test_kernels_start_no_thread_beside_torchs(wanted: int) -> None:
    with torch_threads(wanted):
        torch.ones(1 << 20).add_(1)
        of_torch = threads()
        assert len(of_torch) >= wanted
        Cpu().norm(torch.ones(4096, 64), torch.ones(64), 1e-5)
        assert threads() == of_torch


def test_every_thread_calls_the_function_once_where_there_is_much_to_do(wanted: int) -> None:
    with torch_threads(wanted):
        assert calls(1 << 20) == wanted


def test_little_work_is_done_by_the_calling_thread(wanted: int) -> None:
    with torch_threads(wanted):
        assert calls(100) == 1


def test_without_gnus_interface_the_calling_thread_does_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openmp, "_parallel", lambda: None)
    with torch_threads(2):
        assert calls(1 << 20) == 1


def test_threads_that_wait_for_the_caller_can_be_ended_and_come_back(wanted: int) -> None:
    with torch_threads(wanted), ThreadPoolExecutor(1) as other:

        def started() -> int:
            before = threads()
            torch.ones(1 << 20).add_(1)
            with_team = threads()
            openmp.release()
            eventually(lambda: len(threads()) == len(with_team) - (wanted - 1), "they have ended")
            torch.ones(1 << 20).add_(1)
            return len(threads()) - len(before)

        assert other.submit(started).result() == wanted - 1


def test_a_library_without_the_call_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openmp, "_symbol", lambda _: None)
    openmp.release()


def test_what_cannot_be_kept_in_a_file_is_compiled_all_the_same() -> None:
    """numba finds no folder for the cache of a function that is in no file."""
    names: dict[str, Any] = {"take": take}
    exec("def count(arguments):\n    take(arguments, 1)", names)  # noqa: S102
    buffer = create_string_buffer(16)
    openmp.run(address(names["count"]), buffer, 1)
    assert unpack("qq", buffer.raw) == (0, 1)
