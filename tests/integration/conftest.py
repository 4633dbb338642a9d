"""One installation for the tests that do it no harm."""

from collections.abc import Iterator

import pytest

from tests.integration.installations import Installation, up


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """`llava-jobs up` with the demo model, ready to answer."""
    with up(tmp_path_factory.mktemp("installation") / "data") as running:
        yield running
