"""Processes that a measurement starts, how many cores they share, and what time they take."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import torch

from llava_jobs.child import Child

_LONGEST_START_S = 300


def share_cores() -> int:
    """Give torch in this process and in those it starts all cores, and return their number.

    `OMP_NUM_THREADS` says so where fewer are meant.
    """
    cores = int(os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0)))))
    torch.set_num_threads(cores)
    return cores


@contextmanager
def server(
    arguments: list[str],
    env: Mapping[str, str],
    log: Path,
    answers: Callable[[], bool],
    program: Sequence[str] = (sys.executable, "-m"),
) -> Iterator[Child]:
    """A process, of a module of Python's or of another program, while it answers.

    It is stopped at the end. Raises RuntimeError with its last words where it ends before it
    answers.
    """
    child = Child(log.stem, [*program, *arguments], env, log)
    child.start()
    try:
        give_up = time.monotonic() + _LONGEST_START_S
        while not answers():
            if child.exit_status() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"{child.name} did not start: {child.last_words()}")
            time.sleep(0.2)
        yield child
    finally:
        group = child.pid  # a child leads a session of its own
        child.terminate()
        child.join(20)
        # What a server has forked may outlive it.
        with suppress(ProcessLookupError):
            if group:
                os.killpg(group, signal.SIGKILL)


def cpu_seconds(root: psutil.Process) -> float:
    """Processor seconds that a process and its descendants have taken so far."""
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


class ProcessorTime:
    """What roles of processes take from here on; `roles` as in `cpu_by_role`."""

    def __init__(self, roles: Mapping[str, str]) -> None:
        self._roles = roles
        self._before = cpu_by_role(roles)

    def so_far(self) -> dict[str, float]:
        """Processor seconds by role since the start, those of this process as `client`."""
        now = cpu_by_role(self._roles)
        return {role: seconds - self._before[role] for role, seconds in now.items()}


def cpu_by_role(roles: Mapping[str, str]) -> dict[str, float]:
    """Processor seconds of this process as `client`, and of those that it has started.

    Each counts for the first role whose word is in its command, or else as its parent does.
    """
    totals = {"client": 0.0, **dict.fromkeys(roles, 0.0)}

    def add(process: psutil.Process, inherited: str) -> None:
        try:
            command, times = " ".join(process.cmdline()), process.cpu_times()
            children = process.children()
        except psutil.NoSuchProcess:
            return
        role = next((role for role, word in roles.items() if word in command), inherited)
        totals[role] += times.user + times.system
        for child in children:
            add(child, role)

    add(psutil.Process(), "client")
    return totals


def machine_cpu_seconds() -> float:
    """Processor seconds that all processes of this machine have taken since it started."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def wait_until_quiet(cores: float = 0.1, at_most_s: float = 30.0) -> None:
    """Wait until the machine has used less than so many cores for half a second.

    Whoever has just answered may go on for a while: vLLM's worker waits actively for a second.
    """
    give_up = time.monotonic() + at_most_s
    used = cores
    while used >= cores and time.monotonic() < give_up:
        before = machine_cpu_seconds()
        time.sleep(0.5)
        used = (machine_cpu_seconds() - before) / 0.5


def git_commit() -> str:
    """Return the commit that is measured; empty where there is no repository."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
