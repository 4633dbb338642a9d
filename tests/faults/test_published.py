"""Each failure that others publish, once on an installation of ours."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.cluster import Cluster
from tests.faults.published import CASES, Case
from tests.stores import memory_folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """An installation that is well after each case."""
    with (
        tempfile.TemporaryDirectory(prefix="faults-", dir=memory_folder()) as folder,
        Cluster(Path(folder)) as started,
    ):
        yield started


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_breaks_others_breaks_no_promise_here(cluster: Cluster, case: Case) -> None:
    assert case.run(cluster)
