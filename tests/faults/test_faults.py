"""Each fault once, small: nothing that was accepted is lost, answered twice or answered wrongly."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.errors import ConfigurationError
from tests.conftest import absent
from tests.faults.checker import Verdict
from tests.faults.cluster import LEASE_MS, Cluster
from tests.faults.faults import FAULTS
from tests.faults.layout import PLAIN
from tests.faults.trial import Trial
from tests.stores import memory_folder

JOBS, RATE = 80, 40.0
SOON_MS = 5_000


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """An installation that one fault after the other breaks, and that has to be well after each."""
    with tempfile.TemporaryDirectory(prefix="faults-", dir=memory_folder()) as folder:
        try:
            started = Cluster(Path(folder))
        except ConfigurationError as error:
            absent(f"the embedded store does not start here: {error}")
        with started:
            yield started


OUTLIVED = (
    "kill_store",
    "power_cut",
    "maxmemory",
    "flush_broker",
    "kill_clients",
    "reset",
    "cut",
    "slow",
    "memory_error",
    "out_of_memory",
    "lost_replies",
    "second_start",
)
"""Faults after which every worker is the one that it was, with the model that it has loaded."""


OF_OTHER_LAYOUTS = sorted(name for name, fault in FAULTS.items() if fault.layout != PLAIN)
"""Faults that need an installation of their own."""


REPLACING = sorted(FAULTS.keys() - {"kill_worker", *OUTLIVED, *OF_OTHER_LAYOUTS})


def broken_by(cluster: Cluster, name: str, seed: int) -> Verdict:
    """What a run under a fault came to, in which no promise may be broken."""
    trial = Trial(seed, (FAULTS[name],), JOBS, RATE)
    print(trial.command)
    verdict = trial.run(cluster)
    assert verdict.violations == {}, trial.command
    assert verdict.accepted > JOBS / 2
    return verdict


@pytest.mark.parametrize("name", REPLACING)
def test_no_accepted_job_is_lost_and_none_is_answered_twice(
    cluster: Cluster, name: str, seed: int
) -> None:
    broken_by(cluster, name, seed)


@pytest.mark.parametrize("name", OUTLIVED)
def test_nor_where_workers_go_on_by_themselves(cluster: Cluster, name: str, seed: int) -> None:
    cluster.ready()
    before = [worker.pid for worker in cluster.workers]
    broken_by(cluster, name, seed)
    assert [worker.pid for worker in cluster.workers] == before


@pytest.mark.parametrize("name", OF_OTHER_LAYOUTS)
def test_nor_where_an_installation_has_more_that_can_break(name: str, seed: int) -> None:
    layout = FAULTS[name].layout
    if layout.lacks:
        absent(layout.lacks)
    with (
        tempfile.TemporaryDirectory(prefix="faults-", dir=memory_folder()) as folder,
        Cluster(Path(folder), layout=layout) as cluster,
    ):
        broken_by(cluster, name, seed)


def test_the_jobs_of_a_worker_that_was_killed_run_again_within_a_lease_and_five_seconds(
    cluster: Cluster, seed: int
) -> None:
    verdict = broken_by(cluster, "kill_worker", seed)
    assert 0 < verdict.recovery_ms < LEASE_MS + SOON_MS
