"""Each failure that others publish, once on an installation of ours."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import absent
from tests.faults.cluster import Cluster
from tests.faults.layout import PLAIN
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


ALIKE = [case for case in CASES if case.layout == PLAIN]
OTHERS = [case for case in CASES if case.layout != PLAIN]


@pytest.mark.parametrize("case", OTHERS, ids=lambda case: case.name)
def test_nor_in_an_installation_that_has_more(case: Case) -> None:
    if case.layout.lacks:
        absent(case.layout.lacks)
    with (
        tempfile.TemporaryDirectory(prefix="faults-", dir=memory_folder()) as folder,
        Cluster(Path(folder), layout=case.layout, settings=case.settings) as cluster,
    ):
        assert case.run(cluster)


@pytest.mark.parametrize("case", ALIKE, ids=lambda case: case.name)
def test_what_breaks_others_breaks_no_promise_here(cluster: Cluster, case: Case) -> None:
    assert case.run(cluster)
