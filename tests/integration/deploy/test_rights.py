"""Each role works with the rights that deploy/users.acl gives it, and can do nothing else."""

import hashlib
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import redis

from jobs.store import connect
from tests.eventually import eventually
from tests.installations import ended, run, submit
from tests.integration.deploy.conftest import Shipped
from tests.receivers import Receiver
from tests.shipped_store import ShippedStore

NO_RIGHT = redis.exceptions.NoPermissionError
As = Callable[[str], Any]


@pytest.fixture
def as_role(shipped_store: ShippedStore) -> Iterator[As]:
    """Connects to the store as a role."""
    clients: list[redis.Redis] = []

    def connected(role: str) -> redis.Redis:
        clients.append(connect(shipped_store.url(role)))
        return clients[-1]

    yield connected
    for client in clients:
        client.close()


def test_a_job_its_stream_its_webhook_and_its_erasure_need_no_right_that_is_missing(
    shipped: Shipped, http: httpx.Client, as_role: As, receiver: Receiver, picture: bytes
) -> None:
    as_role("operator").execute_command("ACL", "LOG", "RESET")
    operator = shipped.store.url("operator")
    status, said = run("webhooks", "secret", redis_url=operator)
    assert status == 0, said
    hook = f'{{"url": "{receiver.url()}"}}'
    job_id = submit(http, picture, max_new_tokens="4", webhook=hook)["id"]
    assert ended(http, job_id)["status"] == "succeeded"
    eventually(lambda: receiver.received, "the webhook comes")
    eventually(
        lambda: http.get(f"/v1/jobs/{job_id}").json()["webhook_status"] == "delivered", "noted"
    )
    with http.stream("GET", f"/v1/jobs/{job_id}/stream") as stream:
        assert "event: done" in stream.read().decode()
    image = http.post("/v1/images", files={"image": ("a.png", picture)})
    assert image.status_code == 201
    asked_on = submit(http, picture, max_new_tokens="4", previous_job_id=job_id)["id"]
    http.post(f"/v1/jobs/{asked_on}/cancel")
    ended(http, asked_on)
    assert http.get("/v1/models").status_code == 200
    assert http.get("/v1/events").status_code == 200
    assert http.delete(f"/v1/jobs/{job_id}").status_code == 204
    for command in (
        ("keys", "create", "--tenant", "acme"),
        ("keys", "list"),
        ("tenants", "limit", "acme", "--queued-jobs", "5"),
    ):
        status, said = run(*command, redis_url=operator)
        assert status == 0, said
    assert as_role("operator").execute_command("ACL", "LOG") == []


REFUSED = [
    *((role, ("FLUSHALL",)) for role in ("api", "worker", "sender", "operator", "metrics")),
    *((role, ("KEYS", "*")) for role in ("api", "worker", "sender", "operator", "metrics")),
    *((role, ("SCAN", "0")) for role in ("api", "worker", "sender", "metrics")),
    *((role, ("CONFIG", "SET", "appendonly", "no")) for role in ("api", "worker", "sender")),
    *((role, ("ACL", "SETUSER", "me", "on")) for role in ("api", "worker", "sender", "operator")),
    *((role, ("EVAL", "return 1", "0")) for role in ("api", "worker", "sender", "metrics")),
    *((role, ("SHUTDOWN",)) for role in ("api", "worker", "sender", "operator", "metrics")),
    *((role, ("GET", "another:key")) for role in ("api", "worker", "sender", "operator")),
    ("worker", ("HGETALL", "lj:key:abc")),
    ("worker", ("SMEMBERS", "lj:keys")),
    ("worker", ("HGETALL", "lj:webhook-secret:default")),
    ("worker", ("HSET", "lj:limits:default", "queued_jobs", "1")),
    ("worker", ("HSET", "lj:gone:default", "a", "1")),
    ("sender", ("GET", "lj:image:default:abc")),
    ("sender", ("HGETALL", "lj:key:abc")),
    ("sender", ("HSET", "lj:webhook-secret:default", "current", "x")),
    ("sender", ("PUBLISH", "lj:changes", "x")),
    ("metrics", ("HGETALL", "lj:job:abc")),
    ("health", ("INFO",)),
    ("health", ("GET", "lj:job:abc")),
]


@pytest.mark.parametrize(("role", "command"), REFUSED, ids=lambda item: " ".join(item[:2]))
def test_a_role_is_refused_what_is_none_of_its_business(
    as_role: As, shipped_store: ShippedStore, role: str, command: tuple[str, ...]
) -> None:
    if role == "health":
        client: Any = redis.Redis(port=shipped_store.port, username="health", password="any")
        assert client.ping()
    else:
        client = as_role(role)
    with pytest.raises(NO_RIGHT):
        client.execute_command(*command)
    client.close()


def test_a_script_of_a_role_reaches_no_further_than_the_role(as_role: As) -> None:
    digest = as_role("worker").script_load("return redis.call('HGETALL', 'lj:key:abc')")
    with pytest.raises(redis.exceptions.ResponseError, match=r"[Pp]ermission"):
        as_role("worker").evalsha(digest, 0)


def test_nobody_comes_in_without_a_name(shipped_store: ShippedStore) -> None:
    with (
        redis.Redis(port=shipped_store.port) as nobody,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        nobody.ping()


def test_no_password_is_in_a_file_of_the_store_or_on_a_command_line(shipped: Shipped) -> None:
    password = shipped.variables["LLAVA_JOBS_STORE_API_PASSWORD"]
    folder = shipped.store.data.parent
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any(
        hashlib.sha256(password.encode()).hexdigest() in p.read_text()
        for p in files
        if p.suffix == ".acl"
    )
    assert not any(password.encode() in path.read_bytes() for path in files)
    commands = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert "valkey-server" in commands
    assert password not in commands
