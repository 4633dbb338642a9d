"""An installation that knows the right answers, for the tests that do it no harm."""

import json
from collections.abc import Iterator

import pytest

from llava_jobs.client import Client
from llava_jobs.demo import PICTURES
from tests.installations import Installation

TRUTHS: list[dict[str, str]] = json.loads((PICTURES / "truths.json").read_text())


@pytest.fixture(scope="session")
def answering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """`llava-jobs up` as a newcomer starts it: the demo model, every setting as it comes."""
    running = Installation(tmp_path_factory.mktemp("answering"))
    try:
        running.ready()
        yield running
    finally:
        running.end()


@pytest.fixture
def asker(answering: Installation) -> Iterator[Client]:
    """The project's own client with that installation's key."""
    with Client(answering.url, answering.key) as client:
        yield client
