"""Callers of the installations, and a picture to ask about."""

import json
from collections.abc import Iterator

import httpx
import pytest

from llava_jobs.client import Client
from llava_jobs.demo import PICTURES
from tests.installations import Installation, caller
from tests.unit.api.pictures import encoded, scene

EXAMPLES: list[dict[str, str]] = json.loads((PICTURES / "truths.json").read_text())
TRUTHS = [example for example in EXAMPLES if "detail" not in example]
"""Those that need no more than one look at their picture."""


@pytest.fixture
def asker(answering: Installation) -> Iterator[Client]:
    """The project's own client with that installation's key."""
    with Client(answering.url, answering.key) as client:
        yield client


@pytest.fixture(scope="session")
def picture() -> bytes:
    """A picture that is quickly seen."""
    return encoded(scene(), "PNG")


@pytest.fixture(scope="session")
def webhook_secret(installation: Installation) -> str:
    """What signs that installation's webhooks; it is shown once."""
    with caller(installation.url, installation.key) as client:
        return str(client.post("/v1/webhooks/secret").json()["secret"])


@pytest.fixture
def http(installation: Installation) -> Iterator[httpx.Client]:
    """A caller of the installation that talks on and on, with the key that it printed."""
    with caller(installation.url, installation.key) as client:
        yield client


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The demo model under a content policy; receivers on this machine are told without TLS."""
    running = Installation(
        tmp_path_factory.mktemp("guarded"),
        policy="tests.policies:Watchful",
        policy_timeout_s="8",
        max_attempts="2",
        webhook_networks="127.0.0.0/8",
        webhook_http_hosts="127.0.0.1",
    )
    try:
        running.ready()
        yield running
    finally:
        running.end()
