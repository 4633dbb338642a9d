"""The faults that a run can meet: each is injected, lasts for a while, and is healed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from tests.faults import network_faults, process_faults, store_faults
from tests.faults.cluster import Cluster
from tests.faults.layout import PLAIN, Layout
from tests.faults.script import Act

Disturb = Callable[[Cluster, random.Random], AbstractContextManager[None]]


@contextmanager
def _nothing(cluster: Cluster, rng: random.Random) -> Iterator[None]:
    yield


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong: from outside (``disturb``) or by what jobs do (``acts``).

    An act comes with how often it is done, 0 being every time. ``hold_s`` is how long it lasts.
    One that needs a ``layout`` is no part of pairs. Where it is ``forgetful``, readers may have
    been shown what no replica had confirmed.
    """

    name: str
    means: str
    disturb: Disturb = _nothing
    acts: tuple[tuple[Act, int], ...] = ()
    hold_s: float = 0.0
    layout: Layout = PLAIN
    forgetful: bool = False


_ALL = (
    Fault("kill_worker", "kill -9 of a worker with jobs in flight", process_faults.kill_worker),
    Fault(
        "freeze_worker",
        "SIGSTOP of a worker past its leases, then SIGCONT",
        process_faults.freeze_worker,
        hold_s=4.5,
    ),
    Fault("kill_store", "kill -9 of the store, then restart", store_faults.kill_store, hold_s=1.0),
    Fault("drain_worker", "SIGTERM of a worker under load", process_faults.drain_worker),
    Fault("flush_broker", "the broker's keys are deleted", store_faults.flush_broker),
    Fault("kill_clients", "CLIENT KILL of every connection", store_faults.kill_clients),
    Fault("poison", "a job that kills its worker each time", acts=((Act.DIE, 0),)),
    Fault(
        "memory_error",
        "tasks that raise MemoryError, once and always",
        acts=((Act.RAISE_MEMORY_ERROR, 1), (Act.RAISE_MEMORY_ERROR, 0)),
    ),
    Fault("maxmemory", "the store has no memory left", store_faults.fill_memory, hold_s=2.0),
    Fault("hung_step", "an engine's step never ends", acts=((Act.HANG, 1),)),
    Fault(
        "out_of_memory",
        "the device has no memory left for a job, once and always",
        acts=((Act.RUN_OUT_OF_MEMORY, 1), (Act.RUN_OUT_OF_MEMORY, 0)),
    ),
    Fault(
        "engine_failed",
        "a sticky error of the device, once and by one job always",
        acts=((Act.FAIL, 1), (Act.FAIL, 0)),
    ),
    Fault(
        "kill_unacknowledged",
        "kill -9 after a job has ended and before its hint is acknowledged",
        acts=((Act.DIE_UNACKNOWLEDGED, 1), (Act.DIE_UNACKNOWLEDGED, 1)),
    ),
    Fault("roll", "every process replaced, one after the other", process_faults.roll),
    Fault("no_workers", "all workers away for a while", process_faults.no_workers, hold_s=3.0),
    Fault("reset", "all connections to the store are reset", network_faults.reset),
    Fault("cut", "nobody reaches the store", network_faults.cut, hold_s=2.0),
    Fault("slow", "each packet takes 50 ms", network_faults.slow, hold_s=2.0),
    Fault(
        "half_open",
        "connections lose all, and nobody says so",
        network_faults.half_open,
        hold_s=12.0,
    ),
    Fault("power_cut", "the append-only file ends at the last sync", store_faults.power_cut),
    Fault(
        "lost_replies",
        "the store does what it is sent, and of ten replies one is lost",
        network_faults.lost_replies,
        hold_s=2.0,
    ),
    Fault(
        "full_past_lease",
        "no memory left for longer than a lease, and a worker is killed meanwhile",
        store_faults.full_past_lease,
    ),
    Fault(
        "second_start",
        "another store is started on the folder while the store does not answer",
        store_faults.second_start,
    ),
    Fault(
        "failover",
        "the replica hears nothing for 3 s, the store is killed, the replica takes its place",
        store_faults.failover,
        layout=Layout(replica=True),
        forgetful=True,
    ),
    Fault(
        "clock_forth",
        "the store's clock goes an hour forth, and a worker with jobs in flight is killed",
        store_faults.clock_forth,
        layout=Layout(clock=True),
    ),
    Fault(
        "clock_back",
        "the store's clock goes an hour back, and a worker with jobs in flight is killed",
        store_faults.clock_back,
        layout=Layout(clock=True),
    ),
    Fault(
        "versions",
        "APIs and workers of this release and of the one before change places",
        process_faults.versions,
        layout=Layout(previous=True),
    ),
)
FAULTS = {fault.name: fault for fault in _ALL}
