"""What the tests stand on: a real store, the API over it, and a whole installation."""

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from jobs.errors import ConfigurationError
from jobs.keys import Keys
from jobs.ledger import Ledger, Limits
from jobs.store import connect
from llava_jobs.embedded import EmbeddedStore
from tests.eventually import PATIENCE_S
from tests.gate import GATE, Gate
from tests.installations import COMMAND, GatedInstallation, Installation, free_port
from tests.ledgers import Clock
from tests.spans import Collector
from tests.stores import memory_folder

NewLedger = Callable[..., Ledger]


def absent(reason: str) -> NoReturn:
    """Skip a test for want of something; in CI, where all must be there, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """Whoever runs the tests may have an installation of their own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("LLAVA_JOBS_")]:
            patch.delenv(name)
        yield


@pytest.fixture
def seed() -> int:
    """A seed, printed so that a failure can be seen again: TEST_SEED=<seed> pytest ..."""
    value = int(os.environ.get("TEST_SEED") or random.SystemRandom().randrange(2**32))
    print(f"TEST_SEED={value}")
    return value


@pytest.fixture(scope="session")
def store() -> Iterator[EmbeddedStore]:
    """A real Valkey server, set up as in production; `client` empties it for each test."""
    with tempfile.TemporaryDirectory(prefix="store-", dir=memory_folder()) as folder:
        embedded = EmbeddedStore(Path(folder))
        try:
            embedded.start()
        except ConfigurationError as error:
            absent(f"the embedded store does not start here: {error}")
        yield embedded
        embedded.stop()


@pytest.fixture(scope="session")
def connection(store: EmbeddedStore) -> Iterator[Any]:
    """A client of the store for the whole session."""
    client = connect(store.url)
    yield client
    client.close()


@pytest.fixture
def client(connection: Any) -> Any:
    """A client of the store, which is empty."""
    connection.flushall()
    return connection


@pytest.fixture(scope="session")
def redis_server() -> Path:
    """The program of a Redis older than WAITAOF, from Debian; nothing puts it on PATH."""
    program = Path(__file__).parents[1] / ".cache" / "redis" / "redis-server"
    if not program.exists():
        absent("no Redis to test with: run tests/fetch-redis")
    return program


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until a test moves it."""
    return Clock()


@pytest.fixture
def keys(client: Any, clock: Clock) -> Keys:
    """The keys of an empty store, by the test's clock."""
    return Keys(client, lambda: clock.now / 1000)


@pytest.fixture
def new_ledger(client: Any, clock: Clock) -> NewLedger:
    """Makes ledgers on the store by the test's clock, with the limits that differ from ours."""
    return lambda **limits: Ledger(client, Limits(**limits), clock=clock)


@pytest.fixture
def ledger(new_ledger: NewLedger) -> Ledger:
    """A ledger with the limits of an installation that sets none."""
    return new_ledger()


@pytest.fixture(scope="session", autouse=True)
def _gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """The gate of all workers that this process starts, open."""
    with pytest.MonkeyPatch.context() as patch:
        file = tmp_path_factory.mktemp("gate") / "gate"
        patch.setenv(GATE, str(file))
        yield Gate(file)


@pytest.fixture
def gate(_gate: Gate) -> Iterator[Gate]:
    """The gate, closed until the test opens it or is over."""
    _gate.close()
    yield _gate
    _gate.open()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A folder for an installation's data."""
    return tmp_path / "data"


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model with random weights: it talks until its last token, so jobs can be long."""
    folder = tmp_path_factory.mktemp("models") / "talkative"
    program = """
import sys, torch
from demo.model import new_model, new_processor
torch.manual_seed(0)
new_model().save_pretrained(sys.argv[1])
new_processor().save_pretrained(sys.argv[1])
"""
    command = [sys.executable, "-c", program, str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)
    return folder


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Takes the traces of the installation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        running = Collector()
        yield running
        running.close()


@pytest.fixture(scope="session")
def installation(
    tmp_path_factory: pytest.TempPathFactory, model_folder: Path, collector: Collector
) -> Iterator[Installation]:
    """A whole installation with one worker, quick to notice what went wrong; see `gate`."""
    if not Path(COMMAND[0]).exists():
        absent("llava-jobs is not installed beside this interpreter")
    running = GatedInstallation(
        tmp_path_factory.mktemp("installation"),
        *("--model", str(model_folder)),
        slots="16",
        # Fifty renewals: a worker that the machine holds up for long loses no job by that.
        lease_ms="15000",
        renew_ms="300",
        sweep_ms="100",
        drain_seconds="1",
        webhook_networks="127.0.0.0/8",
        webhook_http_hosts="127.0.0.1",
        tenant_connections="4",
        metrics_port=str(free_port()),
        otlp_endpoint=collector.endpoint,
    )
    try:
        running.ready()
        yield running
    finally:
        running.end()


@pytest.fixture(scope="session")
def answering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """`llava-jobs up` as a newcomer starts it: the demo model, every setting as it comes."""
    running = Installation(tmp_path_factory.mktemp("answering"))
    try:
        running.ready()
        yield running
    finally:
        running.end()
