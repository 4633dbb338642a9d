"""Faults of processes: killed, frozen, drained, replaced, away."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from jobs.scripts import PREFIX
from jobs.settings import DEMO_MODEL
from tests.eventually import eventually
from tests.faults.cluster import Cluster, Member

RECOVERED_S = 60.0
"""Many leases: what is waited for comes by then on the slowest machine, or never."""


def _busy(cluster: Cluster) -> list[Member]:
    """The workers that have jobs in hand at this moment."""
    held = {
        facts["pid"]: cluster.client.scard(f"{PREFIX}held:{name}")
        for name, facts in cluster.ledger.workers(DEMO_MODEL).items()
    }
    return [worker for worker in cluster.workers if worker.pid and held.get(worker.pid)]


def _frozen(cluster: Cluster, rng: random.Random) -> Member:
    """Have a worker stand still with jobs in its hands."""

    def freeze() -> Member | None:
        for worker in rng.sample(busy := _busy(cluster), len(busy)):
            worker.send(signal.SIGSTOP)
            # Its jobs may have ended between the look and the signal.
            if worker in _busy(cluster):
                return worker
            worker.send(signal.SIGCONT)
        return None

    return eventually(freeze, "a busy worker stands still", 10)


@contextmanager
def kill_worker(cluster: Cluster, rng: random.Random) -> Iterator[None]:
    """Kill -9 of a worker that is busy."""
    _frozen(cluster, rng).send(signal.SIGKILL)
    yield


@dataclass(frozen=True)
class Dead:
    """A worker that is to die, by the key of its jobs, and how many these are."""

    client: Any
    key: str
    held: int

    def has_recovered(self) -> None:
        """Wait until none of its jobs is in its hands any more."""
        eventually(lambda: not self.client.exists(self.key), "its jobs are recovered", RECOVERED_S)


@contextmanager
def kill_busy(cluster: Cluster, rng: random.Random) -> Iterator[Dead]:
    """A worker that is busy stands still with its jobs while this lasts, and is killed then."""
    worker = _frozen(cluster, rng)
    key = cluster.held_by(worker)
    yield Dead(cluster.client, key, cluster.client.scard(key))
    worker.send(signal.SIGKILL)


@contextmanager
def freeze_worker(cluster: Cluster, rng: random.Random) -> Iterator[None]:
    """A worker that is busy stands still while its leases run out."""
    worker = _frozen(cluster, rng)
    yield
    worker.send(signal.SIGCONT)


@contextmanager
def drain_worker(cluster: Cluster, rng: random.Random) -> Iterator[None]:
    """A worker is told to end."""
    replace(rng.choice(eventually(lambda: _busy(cluster), "a worker is busy", 10)))
    yield


@contextmanager
def roll(cluster: Cluster, rng: random.Random) -> Iterator[None]:
    """Every process is replaced by a new one, one after the other."""
    for member in (*cluster.workers, *cluster.apis):
        replace(member)
        cluster.ready()
    yield


@contextmanager
def versions(cluster: Cluster, rng: random.Random) -> Iterator[None]:
    """This release's processes and those of the one before change places, one after the other."""
    for member in (*cluster.apis, *cluster.workers[:2]):
        member.previous = not member.previous
        replace(member)
        cluster.ready()
    yield


@contextmanager
def no_workers(cluster: Cluster, rng: random.Random) -> Iterator[None]:
    """All workers end, some of them at once, and none is started."""
    for worker in cluster.workers:
        worker.wanted = False
        if rng.random() < 0.5:
            worker.send(signal.SIGKILL)
        else:
            worker.ask_to_end()
    yield
    for worker in cluster.workers:
        worker.wanted = True


def replace(member: Member) -> None:
    """Tell a process to end, and wait until the supervisor has started another in its place."""
    before = member.pid
    member.ask_to_end()
    eventually(lambda: member.pid not in {None, before}, f"{member.name} is replaced", 30)
