"""One run: load by a schedule, faults in its midst, an end to every job, and the judgement."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from jobs.feed import START, Event, Feed
from jobs.job import Job
from jobs.scripts import PREFIX
from tests.eventually import eventually
from tests.faults.checker import Verdict, judge
from tests.faults.clients import Clients
from tests.faults.cluster import Cluster
from tests.faults.faults import Fault
from tests.faults.layout import PLAIN, Layout
from tests.faults.schedule import Schedule, drawn
from tests.ledgers import records

SETTLE_S = 60.0
"""After the faults are healed, all that was accepted has ended by then."""


@dataclass(frozen=True)
class Trial:
    """What is tried: all of it follows from these, so a failure can be seen again."""

    seed: int
    faults: tuple[Fault, ...]
    jobs: int = 120
    rate: float = 40.0

    @property
    def name(self) -> str:
        """Its faults."""
        return " + ".join(fault.name for fault in self.faults) or "none"

    @property
    def layout(self) -> Layout:
        """What its installation has to have."""
        return next((f.layout for f in self.faults if f.layout != PLAIN), PLAIN)

    @property
    def command(self) -> str:
        """The command that runs it."""
        faults = "".join(f"--fault {fault.name} " for fault in self.faults)
        return (
            f"python -m tests.faults --seed {self.seed} {faults}"
            f"--jobs {self.jobs} --rate {self.rate:g}"
        )

    def run(self, cluster: Cluster) -> Verdict:
        """Run it on an installation that is well, and leave it well."""
        acts = [act for fault in self.faults for act in fault.acts]
        schedule = drawn(self.seed, self.jobs, self.rate, acts)
        cluster.ready()
        keys = {tenant: cluster.key_of(tenant) for tenant in schedule.tenants}
        clients = Clients(cluster.urls, keys, schedule, schedule.duration_s + SETTLE_S / 2)
        clients.start()
        begun: list[int] = []
        stuck: list[str] = []
        try:
            with _noted(stuck):
                _disturb(cluster, self.faults, schedule, begun)
            with _noted(stuck):
                clients.wait(schedule.duration_s + SETTLE_S)
                _settle(cluster)
                cluster.ready()
        finally:
            with _noted(stuck):
                clients.close()
        jobs, feed = _state(cluster, schedule)
        forgetful = any(fault.forgetful for fault in self.faults)
        verdict = judge(schedule.orders, clients.history, jobs, feed, begun, forgetful=forgetful)
        verdict.stuck += stuck
        if self.layout.clock:
            verdict.recovery_ms = 0  # it would be by the clock that was moved
        return verdict


@contextlib.contextmanager
def _noted(stuck: list[str]) -> Iterator[None]:
    """Note what was waited for in vain, and go on: the judgement says what came of it."""
    try:
        yield
    except AssertionError as error:
        stuck.append(str(error))


def _disturb(
    cluster: Cluster, faults: Sequence[Fault], schedule: Schedule, begun: list[int]
) -> None:
    """Inject the faults one after the other, so that they overlap, and heal them in turn.

    Notes when each was ``begun``. Fails where the installation does not live through one in time.
    """
    for_s = schedule.duration_s
    time.sleep(for_s * schedule.random.uniform(0.2, 0.4))
    with ExitStack() as healing:
        for fault in faults:
            begun.append(time.time_ns() // 1_000_000)
            healing.enter_context(fault.disturb(cluster, schedule.random))
            time.sleep(schedule.random.uniform(0, 0.3))
        time.sleep(max(fault.hold_s for fault in faults) if faults else 0)


def _settle(cluster: Cluster) -> None:
    """Wait until every job that is there has ended; the checker tells of those that do not."""
    with contextlib.suppress(AssertionError):
        eventually(
            lambda: cluster.client.zcard(f"{PREFIX}due") == 0, "every job has ended", SETTLE_S
        )


def _state(cluster: Cluster, schedule: Schedule) -> tuple[list[Job], dict[str, list[Event]]]:
    tenants = set(schedule.tenants)
    jobs = [
        Job.from_record(record)
        for record in records(cluster.client).values()
        if record["tenant"] in tenants
    ]
    feed = Feed(cluster.client)
    events: dict[str, list[Event]] = {}
    for tenant in schedule.tenants:
        told: list[Event] = []
        while found := feed.after(tenant, told[-1].cursor if told else START, 1000).events:
            told += found
        events[tenant] = told
    return jobs, events
