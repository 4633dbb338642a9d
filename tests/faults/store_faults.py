"""Faults of the store: killed, cut off from power, full, emptied of hints, deaf to its clients."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.scripts import PREFIX
from tests.faults.cluster import Cluster


@contextmanager
def kill_store(cluster: Cluster, rng: random.Random) -> Iterator[None]:
    """Kill -9 of the store, and its start after a while."""
    cluster.kill_store()
    yield
    cluster.start_store()


@contextmanager
def power_cut(cluster: Cluster, rng: random.Random) -> Iterator[None]:
    """The store's machine loses power, and what was not synced with it.

    All that anybody has heard a reply to is synced. So replies are held back, the file's length is
    taken, and it is cut anywhere from there on: in the middle of a command, most likely.
    """
    for proxy in cluster.proxies:
        proxy.mute()
    # A reply of after the replies stopped: what is in the file by now may have been heard of.
    cluster.client.set(f"{PREFIX}power", 1)
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
