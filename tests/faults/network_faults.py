"""Faults of the way to the store, made by the proxies."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.cluster import Cluster
from tests.faults.proxy import Proxy


@contextmanager
def reset(cluster: Cluster, rng: random.Random) -> Iterator[None]:
    """Every connection ends."""
    for proxy in cluster.proxies:
        proxy.reset()
    yield


@contextmanager
def cut(cluster: Cluster, rng: random.Random) -> Iterator[None]:
    """The store is not to be reached: by the APIs, by the workers, or by all."""
    with _healing(cluster):
        for proxy in _some(cluster, rng):
            proxy.cut()
        yield


@contextmanager
def slow(cluster: Cluster, rng: random.Random) -> Iterator[None]:
    """Each piece takes its time."""
    with _healing(cluster):
        for proxy in cluster.proxies:
            proxy.slow(0.05)
        yield


@contextmanager
def lost_replies(cluster: Cluster, rng: random.Random) -> Iterator[None]:
    """What the store has done is not heard: of ten replies one is lost, with its connection."""
    with _healing(cluster):
        for proxy in cluster.proxies:
            proxy.lose(0.1)
        yield


@contextmanager
def half_open(cluster: Cluster, rng: random.Random) -> Iterator[None]:
    """The connections that are there lose all that is sent, until the gateway between resets them.

    By then clients have noticed by their own time-outs, or have been ended by their watchdogs.
    """
    proxies = _some(cluster, rng)
    for proxy in proxies:
        proxy.silence()
    yield
    for proxy in proxies:
        proxy.reset()


def _some(cluster: Cluster, rng: random.Random) -> tuple[Proxy, ...]:
    return rng.choice([cluster.proxies, (cluster.of_apis,), (cluster.of_workers,)])


@contextmanager
def _healing(cluster: Cluster) -> Iterator[None]:
    yield
    for proxy in cluster.proxies:
        proxy.heal()
