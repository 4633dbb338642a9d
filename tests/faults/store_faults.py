"""Faults of the store: killed, without power, full, failed over, at another hour, started twice."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.scripts import PREFIX
from llava_jobs.folder import URL_FILE
from tests.faults.cluster import AHEAD_S, Cluster
from tests.faults.process_faults import kill_busy
from tests.installations import Running, environment


@contextmanager
def kill_store(cluster: Cluster, rng: random.Random) -> Iterator[None]:
    """Kill -9 of the store, and its start after a while."""
    cluster.kill_store()
    yield
    cluster.start_store()


_MARK = "#!lua flags=allow-oom\nreturn redis.call('SET', KEYS[1], 1)"
"""A write that a store takes at its maxmemory, too, where another fault of the pair has it."""


@contextmanager
def power_cut(cluster: Cluster, rng: random.Random) -> Iterator[None]:
    """The store's machine loses power, and what was not synced with it.

    All that anybody has heard a reply to is synced. So replies are held back, the file's length is
    taken, and it is cut anywhere from there on: in the middle of a command, most likely.
    """
    for proxy in cluster.proxies:
        proxy.mute()
    # A reply of after the replies stopped: what is in the file by now may have been heard of.
    cluster.client.eval(_MARK, 1, f"{PREFIX}power")
    [file] = _appended(cluster)
    heard = file.stat().st_size
    time.sleep(0.3)  # what is sent meanwhile is done and written, and nobody hears of it
    cluster.kill_store()
    for proxy in cluster.proxies:
        proxy.reset()
        proxy.heal()
    os.truncate(file, rng.randint(heard, file.stat().st_size))
    cluster.start_store()
    yield


@contextmanager
def fill_memory(cluster: Cluster, rng: random.Random) -> Iterator[None]:
    """The store is at its maxmemory, or as near as it takes pictures and little else."""
    used = int(cluster.client.info("memory")["used_memory"])
    cluster.client.config_set("maxmemory", rng.choice([1, used, used + 100_000]))
    yield
    cluster.client.config_set("maxmemory", 0)


@contextmanager
def full_past_lease(cluster: Cluster, rng: random.Random) -> Iterator[None]:
    """At maxmemory a worker dies; its jobs are not to wait for memory to be there again."""
    with kill_busy(cluster, rng) as dead:
        cluster.client.config_set("maxmemory", 1)
    try:
        dead.has_recovered()
        yield
    finally:
        cluster.client.config_set("maxmemory", 0)


@contextmanager
def failover(cluster: Cluster, rng: random.Random) -> Iterator[None]:
    """The replica hears nothing for a while, and nobody notices; then it takes the store's place.

    Whoever posts meanwhile is told 503 and posts again to the other API, over connections that the
    APIs have just made: on those nothing was written yet that a repeat would wait for.
    """
    cluster.of_replica.silence()
    for _ in range(8):
        time.sleep(0.4)
        cluster.of_apis.reset()
    cluster.fail_over()
    yield


@contextmanager
def clock_forth(cluster: Cluster, rng: random.Random) -> Iterator[None]:
    """The store's clock goes an hour forth, and a worker dies that had jobs before."""
    _move_clock(cluster, rng, 2 * AHEAD_S)
    yield


@contextmanager
def clock_back(cluster: Cluster, rng: random.Random) -> Iterator[None]:
    """The store's clock goes an hour back, and a worker dies that had jobs before."""
    _move_clock(cluster, rng, 0)
    yield


def _move_clock(cluster: Cluster, rng: random.Random, seconds: int) -> None:
    """Move the clock; of all leases those of the dead worker expire, in time, and no other."""
    expired = cluster.ledger.counters().get("expired_leases", 0)
    with kill_busy(cluster, rng) as dead:
        cluster.move_clock(seconds)
    dead.has_recovered()
    more = cluster.ledger.counters().get("expired_leases", 0) - expired
    assert more <= dead.held, f"{more} leases expired, and {dead.held} jobs were the dead worker's"


@contextmanager
def second_start(cluster: Cluster, rng: random.Random) -> Iterator[None]:
    """While the store does not answer, as one that loads its file, another starts on its folder.

    Then the store is killed and started, so that what counts is what lies in the folder.
    """
    url = cluster.store.data_dir / URL_FILE
    written = url.read_text()
    os.kill(cluster.store.pid, signal.SIGSTOP)
    url.unlink()  # it is written once the file is loaded
    command = [sys.executable, "-m", "tests.faults.second_start", str(cluster.store.data_dir)]
    other = Running(command, environment())
    try:
        if other.line("started|waiting until").group() == "started":
            other.status()
    finally:
        other.end()
        url.write_text(written)
        os.kill(cluster.store.pid, signal.SIGCONT)
    yield
    cluster.kill_store()
    cluster.start_store()


@contextmanager
def flush_broker(cluster: Cluster, rng: random.Random) -> Iterator[None]:
    """All of Celery's keys are gone: hints and bindings."""
    for key in cluster.client.scan_iter(f"{PREFIX}broker:*", count=1000):
        cluster.client.delete(key)
    yield


@contextmanager
def kill_clients(cluster: Cluster, rng: random.Random) -> Iterator[None]:
    """The store ends the connection of each of its clients but ours."""
    for kind in ("normal", "pubsub"):
        cluster.client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
    yield


def _appended(cluster: Cluster) -> list[Path]:
    return sorted((cluster.store.data_dir / "appendonlydir").glob("*.incr.aof"))
