"""A call that changes something is done once, whichever reply of the store to it is lost.

The client of the store sends a command again where the connection ended before its reply came. So
each call is made as often as the store replies to it, and each time another reply is lost.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from flask import Flask
from pydantic import SecretStr
from werkzeug.test import TestResponse

from api import create_app
from jobs.batches import Batches
from jobs.deliveries import Deliveries, Verdict
from jobs.job import Outcome, Reason, Status
from jobs.keys import Keys, Scope
from jobs.ledger import Ledger
from jobs.settings import Settings
from llava_jobs.embedded import EmbeddedStore
from tests.faults.proxy import Proxy
from tests.ledgers import FAILURE
from tests.unit.api.conftest import DATA_URI, Caller
from tests.unit.api.openai import batching

ALL = [Scope.SUBMIT, Scope.READ, Scope.ADMIN]
HOOK = "https://93.184.216.34/told"
MOST_REPLIES = 60
FAMILIES_LEFT_OUT = {b"call", b"rate", b"changes"}
"""What remembers a call for a minute, and what was spent of the tenant's requests."""


@pytest.fixture(scope="module")
def way(store: EmbeddedStore) -> Iterator[Proxy]:
    """The way to the store on which replies are lost."""
    proxy = Proxy(store.port)
    yield proxy
    proxy.close()


@pytest.fixture(scope="module")
def over(store: EmbeddedStore, way: Proxy) -> Iterator[Flask]:
    """The API over that way; its own threads do nothing meanwhile."""
    url = store.url.replace(f":{store.port}/", f":{way.port}/")
    made = create_app(Settings(redis_url=SecretStr(url), sweep_ms=3_600_000, batch_ms=3_600_000))
    yield made
    made.extensions["running"].close()


@dataclass(frozen=True)
class Stage:
    """What a call finds: an installation with one tenant, who may do everything."""

    caller: Caller
    ledger: Ledger
    client: Any

    def failed(self, **fields: Any) -> str:
        """A job that has failed."""
        job_id = self.caller.submit(**fields)
        [model] = self.ledger.models()
        claim = self.ledger.claim(model, "w1")
        assert claim
        self.ledger.finish(claim, Outcome(Status.FAILED, Reason.ERROR, error=FAILURE))
        return job_id

    def told(self) -> str:
        """A job whose end was told."""
        return self._told(200, Verdict.DELIVERED)

    def gone(self) -> str:
        """A job of which its receiver, and its URL, want to hear no more."""
        return self._told(410, Verdict.GONE)

    def _told(self, status: int, verdict: Verdict) -> str:
        assert self.caller("POST", "/v1/webhooks/secret").status_code == 201
        job_id = self.failed(webhook={"url": HOOK})
        deliveries = Deliveries(self.client)
        [delivery] = deliveries.claim(1, 30_000)
        assert deliveries.note(delivery, status, verdict, 0)
        return job_id

    def worker(self) -> str:
        """A worker that lives."""
        self.ledger.renew("w1", "demo", {"slots": 8}, {})
        return "w1"

    def made(self, path: str, **options: Any) -> str:
        """The id of what a call makes."""
        response = self.caller("POST", path, **options)
        assert response.status_code < 300, response.text
        return str(response.json["id"])  # type: ignore[index]

    def file(self) -> str:
        """A file with one line of a batch."""
        asks = batching.asks(batching.picture(self.caller), "What is this?")
        return self.made("/v1/files", **_form(batching.jsonl([batching.line("a", asks)])))


@dataclass(frozen=True)
class Call:
    """A call: what has to be there first, and the request about it."""

    name: str
    prepare: Callable[[Stage], str]
    method: str
    path: str
    options: Callable[[str], dict[str, Any]] = lambda _: {}

    def __str__(self) -> str:
        return self.name

    def make(self, stage: Stage, about: str) -> TestResponse:
        """Send the request."""
        path = self.path.format(about)
        return stage.caller(self.method, path, **self.options(about))


def _form(content: bytes) -> dict[str, Any]:
    data, kind = batching.form(content)["data"], batching.form(content)["content_type"]
    return {"data": data, "content_type": kind}


def _nothing(_: Stage) -> str:
    return ""


def _json(**fields: Any) -> Callable[[str], dict[str, Any]]:
    return lambda _: {"json": fields}


def _group(stage: Stage) -> str:
    for _ in range(3):
        stage.caller.submit(group="t", cache=False)
    return "t"


def _batch(about: str) -> dict[str, Any]:
    wanted = {"input_file_id": about, "endpoint": batching.ENDPOINT, "completion_window": "24h"}
    return {"json": wanted}


def _begun(stage: Stage) -> str:
    return stage.made("/v1/batches", **_batch(stage.file()))


def _ended(stage: Stage) -> str:
    batches = Batches(stage.client, stage.ledger.scripts)
    begun = batches.get("acme", _begun(stage))
    assert begun
    batches.fail(begun, [])
    return begun.id


def _paused(stage: Stage) -> str:
    assert stage.caller("POST", "/v1/admin/intake/pause", json={}).status_code == 200
    return ""


def _drained(stage: Stage) -> str:
    stage.worker()
    assert stage.caller("POST", "/v1/admin/workers/w1/drain", json={}).status_code == 200
    return "w1"


def _key(stage: Stage) -> str:
    return stage.made("/v1/admin/keys", json={"tenant": "other"})


def _secret(stage: Stage) -> str:
    assert stage.caller("POST", "/v1/webhooks/secret").status_code == 201
    return ""


def _upload(stage: Stage) -> str:
    return stage.made("/v1/images", json={"data": DATA_URI})


def _submitted(stage: Stage) -> str:
    return stage.caller.submit()


ASKED = {"question": "What is this?", "images": [{"data": DATA_URI}]}
CALLS = [
    Call("submit", _nothing, "POST", "/v1/jobs", _json(**ASKED)),
    Call("cancel", _submitted, "POST", "/v1/jobs/{}/cancel"),
    Call("erase", _submitted, "DELETE", "/v1/jobs/{}"),
    Call("retry", Stage.failed, "POST", "/v1/jobs/{}/retry"),
    Call("cancel group", _group, "POST", "/v1/groups/{}/cancel"),
    Call("erase group", _group, "DELETE", "/v1/groups/{}"),
    Call("upload", _nothing, "POST", "/v1/images", _json(data=DATA_URI)),
    Call("erase upload", _upload, "DELETE", "/v1/images/{}"),
    Call("keep file", _nothing, "POST", "/v1/files", lambda _: _form(b"{}\n")),
    Call("erase file", Stage.file, "DELETE", "/v1/files/{}"),
    Call("begin batch", Stage.file, "POST", "/v1/batches", _batch),
    Call("cancel batch", _begun, "POST", "/v1/batches/{}/cancel"),
    Call("erase batch", _ended, "DELETE", "/v1/batches/{}"),
    Call("send again", Stage.told, "POST", "/v1/jobs/{}/deliveries"),
    Call("enable", Stage.gone, "POST", "/v1/webhooks/enable", _json(url=HOOK)),
    Call("create secret", _nothing, "POST", "/v1/webhooks/secret"),
    Call("rotate secret", _secret, "POST", "/v1/webhooks/secret/rotate"),
    Call("create key", _nothing, "POST", "/v1/admin/keys", _json(tenant="other")),
    Call("rotate key", _key, "POST", "/v1/admin/keys/{}/rotate", _json()),
    Call("revoke key", _key, "DELETE", "/v1/admin/keys/{}"),
    Call("limits", _nothing, "PUT", "/v1/admin/tenants/other/limits", _json(queued_jobs=5)),
    Call("pause", _nothing, "POST", "/v1/admin/intake/pause", _json()),
    Call("resume", _paused, "POST", "/v1/admin/intake/resume", _json()),
    Call("drain", Stage.worker, "POST", "/v1/admin/workers/{}/drain", _json()),
    Call("resume worker", _drained, "POST", "/v1/admin/workers/{}/resume", _json()),
    Call("retry failures", Stage.failed, "POST", "/v1/admin/failures/error/retry", _json()),
    Call("retry any job", Stage.failed, "POST", "/v1/admin/jobs/{}/retry"),
]


def outcome(
    over: Flask, client: Any, call: Call, before: Callable[[], object] = bool
) -> tuple[Any, ...]:
    """How a call was answered on a store with nothing else, and how much that holds then."""
    client.flushall()
    caller = Caller(over.test_client(), Keys(client).create("acme", scopes=ALL))
    stage = Stage(caller, Ledger(client), client)
    about = call.prepare(stage)
    before()
    response = call.make(stage, about)
    body = response.get_json(silent=True)
    told = sorted(body) if isinstance(body, dict) else body
    return response.status_code, told, sizes(client)


def sizes(client: Any) -> Counter[tuple[bytes, int]]:
    """How many keys of each family and size there are."""
    readers = {
        b"hash": client.hlen,
        b"set": client.scard,
        b"zset": client.zcard,
        b"list": client.llen,
        b"stream": client.xlen,
        b"string": client.exists,
    }
    names = [(name, name.split(b":")[1]) for name in client.scan_iter(count=1000)]
    return Counter(
        (family, readers[client.type(name)](name))
        for name, family in names
        if family not in FAMILIES_LEFT_OUT
    )


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_a_call_whose_reply_from_the_store_is_lost_is_done_once_and_answered_as_ever(
    over: Flask, way: Proxy, client: Any, call: Call
) -> None:
    undisturbed = outcome(over, client, call)
    assert undisturbed[0] < 300, undisturbed
    for after in range(MOST_REPLIES):
        disturbed = outcome(over, client, call, partial(way.lose_one, after))
        if not way.has_lost_it:
            assert after > 1, "the call has at least its key looked at"
            return
        assert disturbed == undisturbed, f"reply {after} was lost"
    raise AssertionError("no end to its replies")
