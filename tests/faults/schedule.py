"""What is asked of an installation and when, drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from jobs.job import Priority
from tests.faults.script import Act, Script

TENANTS = 3


@dataclass(frozen=True)
class Order:
    """One thing that a client wants, and how it goes about it; times in seconds from the start."""

    number: int
    at: float
    tenant: str
    script: Script
    priority: Priority = Priority.NORMAL
    key: str | None = None
    """Under which it may be posted again; without one it is posted once."""
    twice: bool = False
    """Posted by two at once, one at each API."""
    deadline_ms: int | None = None
    cancel_after: float | None = None
    polled: bool = False
    shared: bool = False
    """Whether another job's work may answer it."""
    api: int = 0


@dataclass(frozen=True)
class Schedule:
    """The orders of a run, by time."""

    seed: int
    orders: tuple[Order, ...]
    tenants: tuple[str, ...]
    duration_s: float
    random: random.Random = field(repr=False, compare=False)
    """For the faults: goes on where the orders have been drawn."""


def drawn(seed: int, jobs: int, rate: float, acts: Iterable[tuple[Act, int]] = ()) -> Schedule:
    """Draw so many jobs, ``rate`` a second, with ``acts`` (what, how often) among them."""
    rng = random.Random(seed)
    duration = jobs / rate
    tenants = tuple(f"tenant-{seed}-{letter}" for letter in "abc"[:TENANTS])
    orders = [_ordinary(rng, number, duration, tenants) for number in range(jobs)]
    special = [(act, times) for act, times in acts]
    for place, (act, times) in zip(rng.sample(range(jobs), len(special)), special, strict=True):
        number = seed * 1_000_000 + place
        script = Script(number, rng.randint(5, 30), act, times)
        at = duration * rng.uniform(0.2, 0.6)
        orders[place] = Order(place, at, rng.choice(tenants), script, key=f"key-{place}")
    orders.sort(key=lambda order: order.at)
    return Schedule(seed, tuple(orders), tenants, duration, rng)


def _ordinary(rng: random.Random, number: int, duration: float, tenants: tuple[str, ...]) -> Order:
    seed_number = rng.randrange(10) if (shared := rng.random() < 0.1) else 100 + number
    way = rng.random()
    milliseconds = rng.choice([5, 10, 20, 50, 200]) if not shared else 50
    if 0.10 <= way < 0.15:
        milliseconds = 600  # so that some cancellations meet a job that runs
    return Order(
        number=number,
        at=duration * rng.random(),
        tenant=rng.choice(tenants),
        script=Script(seed_number, milliseconds),
        priority=rng.choices(list(Priority), (2, 6, 2))[0],
        key=f"key-{number}" if rng.random() < 0.8 or way < 0.05 else None,
        twice=way < 0.05,
        deadline_ms=rng.choice([300, 1_500, 5_000]) if 0.05 <= way < 0.10 else None,
        cancel_after=rng.choice([0.0, 0.02, 0.1, 0.5]) if 0.10 <= way < 0.20 else None,
        polled=way > 0.85,
        shared=shared,
        api=rng.randrange(2),
    )
