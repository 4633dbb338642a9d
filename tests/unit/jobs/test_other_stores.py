"""Stores beside the embedded one: an older Redis, TLS, a failover by Sentinel."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.sentinel
from celery import Celery
from kombu import pools

from jobs.errors import ConfigurationError, LedgerFull, StoreUnavailable
from jobs.hints import Hints, celery_app
from jobs.ledger import Ledger, Limits
from jobs.rates import Rates
from jobs.sentinels import Sentinels
from jobs.store import connect, inspect
from tests.eventually import PATIENCE_S, eventually
from tests.ledgers import ANSWER, MODEL, Clock, claimed, status_of, submitted
from tests.stores import Server, certificates, watched
from tests.unit.jobs.operations import OPERATIONS, Operation, Scripted, contents
from worker.broker import HintConnection


@pytest.fixture(scope="module")
def older(redis_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Redis 7.0 that syncs every write, with a password, over TLS."""
    folder = tmp_path_factory.mktemp("redis")
    tls = certificates(folder / "tls")
    with Server(redis_server, folder / "store", tls=tls) as server:
        yield server


@pytest.fixture
def admin(older: Server) -> Iterator[Any]:
    """A client of it; it is empty."""
    with contextlib.closing(connect(older.url)) as client:
        client.flushall()
        client.config_set("maxmemory", 0)
        client.config_set("appendfsync", "always")
        yield client


def test_an_older_redis_is_taken_where_it_syncs_every_write(admin: Any) -> None:
    server = inspect(admin, "disk")
    assert (server.name, server.durability) == ("Redis", "always")
    assert server.version < (7, 2)
    admin.config_set("appendfsync", "everysec")
    with pytest.raises(ConfigurationError, match="appendfsync always"):
        inspect(admin, "disk")


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_a_change_of_state_is_the_same_there(admin: Any, client: Any, operation: Operation) -> None:
    left = []
    for each in (client, admin):
        clock = Clock()
        ledger = Scripted(each, inspect(each, "disk").durability, clock=clock)
        operation.run(ledger, operation.prepare(ledger, clock))
        left.append(contents(each))
    assert left[0] == left[1]


def test_what_it_accepted_outlives_its_death(older: Server, admin: Any) -> None:
    ledger = Ledger(admin, durability="always")
    jobs = [submitted(ledger) for _ in range(20)]
    ledger.finish(claimed(ledger), ANSWER)
    older.kill()
    with pytest.raises(StoreUnavailable):
        submitted(ledger)
    older.start()
    assert status_of(ledger, jobs[0]) == ("succeeded", None)
    assert [claimed(ledger).job.id for _ in range(19)] == jobs[1:]


def test_at_its_memory_limit_it_accepts_nothing_and_work_goes_on(admin: Any) -> None:
    ledger = Ledger(admin, durability="always")
    job_id = submitted(ledger)
    admin.config_set("maxmemory", int(admin.info("memory")["used_memory"] * 1.1))
    assert ledger.sweep().memory_is_full
    with pytest.raises(LedgerFull):
        submitted(ledger)
    admin.config_set("maxmemory", 1)
    assert ledger.finish(claimed(ledger), ANSWER)
    assert status_of(ledger, job_id) == ("succeeded", None)
    assert Rates(admin, 60).spend("acme").left == 59, "its callers can still ask"


def test_tls_is_spoken_by_ledger_and_broker_and_a_strange_certificate_is_refused(
    older: Server, admin: Any
) -> None:
    with _broker(older.url) as app:
        assert Hints(app, admin).publish(MODEL)
        assert Hints(app, admin).waiting(MODEL) == 1
        with app.connection_for_read() as connection:
            assert _hint(connection)
    unknown = older.url.partition("?")[0]
    with contextlib.closing(connect(unknown)) as client, pytest.raises(redis.ConnectionError):
        client.ping()
    with (
        _broker(unknown) as app,
        app.connection_for_write() as connection,
        pytest.raises(redis.ConnectionError, match="certificate verify failed"),
    ):
        connection.channel().client.ping()


@contextlib.contextmanager
def _broker(url: str) -> Iterator[Celery]:
    pools.reset()  # kombu has one pool for all connections to a host, whatever their TLS
    app = celery_app(url)
    app.amqp.Connection = HintConnection
    yield app
    app.close()
    pools.reset()


def _hint(connection: Any) -> bool:
    queue = connection.SimpleQueue(f"hints.{MODEL}")
    queue.get(timeout=PATIENCE_S).ack()
    queue.close()
    return True


@pytest.fixture(params=["plain", "tls"])
def service(request: pytest.FixtureRequest, redis_server: Path, tmp_path: Path) -> Iterator[Any]:
    """A store of two servers that a sentinel watches: (its URL, the leading server)."""
    with watched(redis_server, tmp_path, tls=request.param == "tls") as service:
        yield service


def test_what_was_accepted_outlives_a_failover(service: tuple[str, Server]) -> None:
    url, leader = service
    with contextlib.closing(connect(url)) as client, _broker(url) as app:
        ledger = Ledger(client, Limits(durable_replicas=1), durability="always")
        jobs = [submitted(ledger) for _ in range(20)]
        ledger.finish(claimed(ledger), ANSWER)
        hints = Hints(app, client)
        assert hints.publish(MODEL)

        leader.kill()

        with pytest.raises(StoreUnavailable):
            submitted(ledger)
        eventually(lambda: _accepts(client), "the follower leads")
        assert status_of(ledger, jobs[0]) == ("succeeded", None)
        assert {claimed(ledger).job.id for _ in jobs[1:]} == set(jobs[1:])
        eventually(lambda: hints.publish(MODEL), "hints can be published")
        eventually(lambda: _is_given(app), "a worker is given a hint")


def _is_given(app: Celery) -> bool:
    """Whether a worker finds the leader, and a hint there; it looks again where it does not."""
    with contextlib.suppress(redis.sentinel.MasterNotFoundError), app.connection_for_read() as one:
        return _hint(one)
    return False


def _accepts(client: Any) -> bool:
    with contextlib.suppress(StoreUnavailable):
        submitted(Ledger(client, durability="always"), model="another")
        return True
    return False


def test_nothing_is_accepted_that_too_few_servers_have(service: tuple[str, Server]) -> None:
    url, _ = service
    with contextlib.closing(connect(url)) as client:
        ledger = Ledger(
            client, Limits(durable_replicas=2, durability_timeout=50), durability="always"
        )
        with pytest.raises(StoreUnavailable):
            submitted(ledger)


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://localhost/0",
        "redis+sentinel://a,,b/0?service=jobs",
        "http://localhost",
    ],
)
def test_an_address_without_meaning_is_refused_with_the_forms(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"redis\+sentinel://"):
        connect(url)


def test_sentinels_keep_what_an_address_says() -> None:
    told = Sentinels.parse(
        "rediss+sentinel://u%40x:p%3A1@s1:1,s2/3?service=jobs&ssl_ca_certs=/ca"
        "&sentinel_username=watch&sentinel_password=secret"
    )
    assert told is not None
    assert told.hosts == (("s1", 1), ("s2", 26379))
    assert (told.options["username"], told.options["password"]) == ("u@x", "p:1")
    assert told.options["db"] == 3
    assert told.own == {
        "username": "watch",
        "password": "secret",
        "ssl": True,
        "ssl_ca_certs": "/ca",
    }
    assert told.broker_url == "sentinel://u%40x:p%3A1@s1:1/3;sentinel://u%40x:p%3A1@s2:26379/3"
    assert "secret" not in repr(told)
    assert "p%3A1" not in repr(told)
