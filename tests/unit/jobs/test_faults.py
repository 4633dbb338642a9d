"""What the ledger says and keeps where the store is away, full, or loses a reply."""

import contextlib
import os
import select
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import redis

from jobs.errors import ConfigurationError, LedgerFull, StoreUnavailable
from jobs.image_store import ImageStore
from jobs.ledger import Ledger, Limits
from jobs.store import connect, inspect, told_plainly
from llava_jobs.embedded import EmbeddedStore
from tests.eventually import eventually
from tests.ledgers import (
    ANSWER,
    MODEL,
    assert_counts_are_true,
    claimed,
    draft,
    status_of,
    submitted,
)


class LosesReplies:
    """A way to a store on which a reply to a command that holds `word` is lost, once.

    It is the first one, or the first behind so many that are `skipped`.
    """

    def __init__(self, store: EmbeddedStore, word: bytes, skipped: int = 0) -> None:
        self._store = store
        self._word = word
        self._left = skipped
        self._lost = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """The store's URL by this way."""
        port = int(self._listener.getsockname()[1])
        return self._store.url.replace(f":{self._store.port}/", f":{port}/")

    @property
    def has_lost(self) -> bool:
        """Whether a reply has been lost."""
        return self._lost.is_set()

    def close(self) -> None:
        """Accept no more, and wait for what runs to end."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._carry, args=(caller,))
            self._threads.append(thread)
            thread.start()

    def _carry(self, caller: socket.socket) -> None:
        with caller, socket.create_connection(("127.0.0.1", self._store.port)) as server:
            # A server may reply to a pipeline piece by piece, so both ways are listened to.
            while ready := select.select([caller, server], [], [])[0]:
                if server in ready:
                    if not (reply := server.recv(1 << 20)):
                        return
                    caller.sendall(reply)
                if caller in ready:
                    if not (sent := caller.recv(1 << 20)):
                        return
                    server.sendall(sent)
                    if self._loses_reply_to(sent):
                        server.recv(1 << 20)  # it has done what was asked
                        self._lost.set()
                        return

    def _loses_reply_to(self, sent: bytes) -> bool:
        if self._word in sent and not self._lost.is_set():
            self._left -= 1
        return self._left < 0 and not self._lost.is_set()


@pytest.fixture
def lossy(request: pytest.FixtureRequest, store: EmbeddedStore, client: Any) -> Iterator[Any]:
    """A ledger on the store that does not hear the first reply to a script."""
    assert client.ping()
    way = LosesReplies(store, b"EVALSHA")
    through = connect(way.url)
    yield Ledger(through), way
    through.close()
    way.close()


def test_a_job_whose_acceptance_was_not_heard_is_counted_once(
    client: Any, ledger: Ledger, lossy: tuple[Ledger, LosesReplies]
) -> None:
    submitted(ledger)
    over_lossy, way = lossy
    with contextlib.suppress(StoreUnavailable):
        over_lossy.submit(draft(id="job_" + "1" * 32))
    assert way.has_lost
    assert ledger.queued(MODEL)["normal"] == 2
    assert_counts_are_true(client, ledger)


def test_an_answer_whose_end_was_not_heard_is_committed_once(
    client: Any, ledger: Ledger, lossy: tuple[Ledger, LosesReplies]
) -> None:
    job_id = submitted(ledger)
    claim = claimed(ledger)
    over_lossy, way = lossy
    over_lossy.finish(claim, ANSWER)
    assert way.has_lost
    assert status_of(ledger, job_id) == ("succeeded", None)


@pytest.fixture
def away() -> Iterator[Any]:
    """A client of a store that is not there."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        client = connect(f"redis://127.0.0.1:{nobody.getsockname()[1]}/0")
        yield client
        client.close()


def test_a_store_that_is_away_is_told_as_such(away: Any) -> None:
    ledger = Ledger(away)
    calls = (
        lambda: ledger.submit(draft()),
        lambda: ledger.get("acme", "job_1"),
        lambda: ledger.claim(MODEL, "w1"),
        lambda: Ledger(away).sweep(),
        lambda: ledger.workers(MODEL),
        lambda: ImageStore(away).get("acme", "d"),
        lambda: inspect(away, "disk"),
    )
    for call in calls:
        with pytest.raises(StoreUnavailable) as told:
            call()
        assert (told.value.status, told.value.code) == (503, "store_unavailable")
        assert told.value.retry_after
        assert "127.0.0.1" not in told.value.message


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[tuple[EmbeddedStore, Any]]:
    """A store that a test may treat badly."""
    with EmbeddedStore(tmp_path / "store") as embedded:
        client = connect(embedded.url)
        yield embedded, client
        client.close()


def test_a_store_at_its_memory_limit_is_full_and_loses_nothing(
    own_store: tuple[EmbeddedStore, Any],
) -> None:
    _, client = own_store
    ledger = Ledger(client)
    first = submitted(ledger)
    client.config_set("maxmemory", "1")
    with pytest.raises(LedgerFull) as refused:
        submitted(ledger)
    assert (refused.value.status, refused.value.code) == (503, "ledger_full")
    with pytest.raises(LedgerFull):
        ImageStore(client).put("acme", "d" * 64, b"pixels")
    client.config_set("maxmemory", "0")
    assert claimed(ledger).job.id == first


def test_the_embedded_store_has_a_limit_on_its_memory(
    own_store: tuple[EmbeddedStore, Any], tmp_path: Path
) -> None:
    _, client = own_store
    of_the_machine = int(client.info("memory")["total_system_memory"])
    assert 0.2 < int(client.info("memory")["maxmemory"]) / of_the_machine < 0.3
    with EmbeddedStore(tmp_path / "small", memory_mb=64) as embedded:
        small = connect(embedded.url)
        assert int(small.info("memory")["maxmemory"]) == 64 << 20
        small.close()


def test_what_was_accepted_is_there_after_the_store_was_killed(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path) as embedded:
        client = connect(embedded.url)
        jobs = [submitted(Ledger(client)) for _ in range(20)]
        os.kill(embedded.pid, signal.SIGKILL)
        client.close()
    with EmbeddedStore(tmp_path) as embedded:
        client = connect(embedded.url)
        ledger = Ledger(client)
        assert [claimed(ledger).job.id for _ in range(20)] == jobs
        client.close()


def test_acceptance_that_the_disk_did_not_confirm_in_time_is_no_acceptance(client: Any) -> None:
    class NeverSynced:
        """A client whose server syncs nothing in time."""

        def __init__(self) -> None:
            self._pipe = client.pipeline(transaction=False)

        def __getattr__(self, name: str) -> Any:
            return getattr(client, name)

        def pipeline(self, transaction: bool) -> Any:
            pipe = client.pipeline(transaction=transaction)
            run = pipe.execute
            pipe.execute = lambda **named: [run(**named)[0], [0, 0]]
            return pipe

    with pytest.raises(StoreUnavailable) as refused:
        submitted(Ledger(NeverSynced(), Limits()))
    assert refused.value.status == 503
    assert refused.value.retry_after


@pytest.mark.parametrize(
    "error",
    [
        redis.ConnectionError("Error 111 connecting to 10.0.0.7:6379"),
        redis.TimeoutError("Timeout reading from socket"),
        redis.exceptions.BusyLoadingError("LOADING"),
        redis.ReadOnlyError("READONLY"),
        redis.ResponseError("MISCONF Errors writing to the AOF file: No space left on device"),
        redis.ResponseError("BUSY Redis is busy running a script."),
    ],
    ids=lambda error: f"{type(error).__name__} {str(error).split()[0]}",
)
def test_a_store_that_cannot_serve_is_told_plainly(error: Exception) -> None:
    with pytest.raises(StoreUnavailable) as told, told_plainly():
        raise error
    assert told.value.retry_after
    assert "10.0.0.7" not in told.value.message


@pytest.fixture
def busy(own_store: tuple[EmbeddedStore, Any]) -> Iterator[Any]:
    """A store that runs a script which does not end, and says so to everybody."""
    embedded, client = own_store
    client.config_set("busy-reply-threshold", 1)
    running = connect(embedded.url)

    def run() -> None:
        with contextlib.suppress(redis.ResponseError):
            running.eval("while true do end", 0)

    thread = threading.Thread(target=run)
    thread.start()
    yield client
    client.script_kill()
    thread.join()
    running.close()


def test_a_store_that_is_busy_with_a_script_is_away_for_a_moment(busy: Any) -> None:
    eventually(lambda: _says_busy(busy), "the store says that it is busy")
    with pytest.raises(StoreUnavailable):
        submitted(Ledger(busy))
    with pytest.raises(StoreUnavailable):
        Ledger(busy).claim(MODEL, "w1")


def _says_busy(client: Any) -> bool:
    try:
        client.ping()
    except redis.ResponseError as error:
        return str(error).startswith("BUSY")
    return False


def test_a_store_that_syncs_to_disk_is_taken(client: Any) -> None:
    server = inspect(client, "disk")
    assert (server.name, server.durability) == ("Valkey", "waitaof")
    assert "WAITAOF" in str(server)


def test_a_store_without_an_append_only_file_is_refused_with_the_cure(
    own_store: tuple[EmbeddedStore, Any],
) -> None:
    _, client = own_store
    client.config_set("appendonly", "no")
    with pytest.raises(ConfigurationError) as refused:
        inspect(client, "disk")
    assert "--appendonly yes" in refused.value.message
    assert "LLAVA_JOBS_DURABILITY=memory" in refused.value.message
    assert inspect(client, "memory").durability == "memory"


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru", "volatile-ttl"])
@pytest.mark.parametrize("wanted", ["disk", "memory"])
def test_a_store_that_evicts_is_refused_with_the_cure(
    own_store: tuple[EmbeddedStore, Any], policy: str, wanted: Literal["disk", "memory"]
) -> None:
    _, client = own_store
    client.config_set("maxmemory-policy", policy)
    with pytest.raises(ConfigurationError, match="maxmemory-policy noeviction") as refused:
        inspect(client, wanted)
    assert policy in refused.value.message


def test_a_store_that_never_syncs_is_refused_with_the_cure(
    own_store: tuple[EmbeddedStore, Any],
) -> None:
    _, client = own_store
    client.config_set("appendfsync", "no")
    with pytest.raises(ConfigurationError, match="appendfsync everysec"):
        inspect(client, "disk")
    assert inspect(client, "memory").durability == "memory"


@pytest.mark.parametrize(
    ("version", "fsync", "expected"),
    [
        ("6.0.16", "always", None),
        ("6.2.0", "everysec", None),
        ("6.2.0", "always", "always"),
        ("7.2.0", "everysec", "waitaof"),
    ],
)
def test_what_a_redis_of_each_age_promises(version: str, fsync: str, expected: str | None) -> None:
    class Redis:
        """What a Redis of an age tells about itself."""

        def info(self) -> dict[str, Any]:
            return {"redis_version": version, "aof_enabled": 1}

        def config_get(self, name: str) -> dict[str, str]:
            return {name: fsync}

    if expected is None:
        with pytest.raises(ConfigurationError):
            inspect(Redis(), "disk")
    else:
        assert inspect(Redis(), "disk").durability == expected
