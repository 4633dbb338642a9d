"""Jobs to submit, a clock to set, and what the store holds, for tests of the ledger."""

from collections import Counter
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from jobs.job import Claim, Draft, Job, Outcome, Status
from jobs.ledger import Ledger
from jobs.request import Conversation, ImagePart, Parameters, Turn
from jobs.scripts import DURABLE, PREFIX
from jobs.webhook import Webhook

MODEL = "demo"
ANSWER = Outcome(Status.SUCCEEDED, answer={"text": "E42", "finish_reason": "stop"})
_NUMBERS = count()
_SAME = Conversation((Turn("user", ("What is the error code?",)),))
FAILURE = {"code": "out_of_memory", "message": "the GPU had no memory left"}


class Clock:
    """Milliseconds since the epoch, as far as a test has let them pass."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now

    def forward(self, milliseconds: int) -> None:
        """Let time pass."""
        self.now += milliseconds


def draft(tenant: str = "acme", *, images: tuple[ImagePart, ...] = (), **fields: Any) -> Draft:
    """A job to submit, unlike any other; it shows no picture unless told to."""
    question = f"What is error code {next(_NUMBERS)}?"
    return Draft(
        **{
            "tenant": tenant,
            "model": MODEL,
            "conversation": Conversation((Turn("user", (*images, question)),)),
            "parameters": Parameters(),
            **fields,
        }
    )


def submitted(ledger: Ledger, tenant: str = "acme", **fields: Any) -> str:
    """The id of a job that was just submitted."""
    return ledger.submit(draft(tenant, **fields))[0].id


def claimed(ledger: Ledger, worker: str = "w1") -> Claim:
    """The next job, in the hands of a worker."""
    claim = ledger.claim(MODEL, worker)
    assert claim is not None
    return claim


def status_of(ledger: Ledger, job_id: str, tenant: str = "acme") -> tuple[str, str | None]:
    """A job's status and the reason for it."""
    job = ledger.get(tenant, job_id)
    assert job is not None
    return job.status.value, job.reason.value if job.reason else None


def the_same(tenant: str = "acme", **fields: Any) -> Draft:
    """A job to submit that asks what every job of this kind asks."""
    return draft(tenant, **{"conversation": _SAME, **fields})


def asked(ledger: Ledger, tenant: str = "acme", **fields: Any) -> Job:
    """Such a job, just submitted."""
    return ledger.submit(the_same(tenant, **fields))[0]


def now(ledger: Ledger, job: Job) -> Job:
    """A job as it stands."""
    found = ledger.get(job.tenant, job.id)
    assert found is not None
    return found


def leaders(ledger: Ledger, *jobs: Job) -> list[str | None]:
    """Whose work answers each job, where it is not its own."""
    return [now(ledger, job).deduplicated_from for job in jobs]


def statuses(ledger: Ledger, *jobs: Job) -> list[tuple[str, str | None]]:
    """Where each job stands, and why."""
    return [status_of(ledger, job.id, job.tenant) for job in jobs]


def webhook(url: str = "https://hook.test/", *events: str) -> Webhook:
    """Where a job's end is told: any end, unless told otherwise."""
    return Webhook(url, str(urlsplit(url).hostname), events or ("completed",))


def everything(client: Any) -> dict[bytes, bytes]:
    """All that the store holds, by key, but for what was spent and what calls leave to be safe."""
    others = f"{PREFIX}rate:".encode(), f"{PREFIX}call:".encode(), DURABLE.encode()
    names = [name for name in client.scan_iter(count=1000) if not name.startswith(others)]
    return {name: client.dump(name) for name in names}


def events(client: Any, tenant: str = "acme") -> list[tuple[str, str, str]]:
    """The changes of a tenant's jobs in order, as (job, status, reason)."""
    return [
        (e[b"job"].decode(), e[b"status"].decode(), e[b"reason"].decode())
        for _, e in client.xrange(f"{PREFIX}events:{tenant}")
    ]


def records(client: Any) -> dict[str, dict[str, str]]:
    """The record of every job, as the store has it."""
    with client.pipeline() as pipe:
        for key in client.keys(f"{PREFIX}job:*"):
            pipe.hgetall(key)
        found = [
            {name.decode(): value.decode() for name, value in record.items()}
            for record in pipe.execute()
        ]
    return {record["id"]: record for record in found}


def assert_counts_are_true(client: Any, ledger: Ledger) -> None:
    """Hold every count of waiting jobs to a recount of the records and of the queues."""
    by_class: Counter[str] = Counter()
    by_tenant: Counter[str] = Counter()
    members: set[str] = set()
    for record in records(client).values():
        if record["status"] != "queued":
            assert record["place"] == ""
            continue
        by_tenant[record["tenant"]] += 1
        if record["place"] == "following":
            members.add(f"followers:{record['deduplicated_from']} {record['id']}")
        elif record["place"] == "queue":
            by_class[record["class"]] += 1
            members.add(f"queue:{MODEL}:{record['class']}:{record['tenant']} {record['id']}")
        elif record["place"] == "suspects":
            by_class["suspect"] += 1
            members.add(f"suspects:{MODEL} {record['id']}")
        else:
            assert record["place"] == "delayed"
            members.add(f"delayed {record['id']}")
    assert {name: count for name, count in ledger.queued(MODEL).items() if count} == by_class
    told = client.hgetall(f"{PREFIX}queued-by-tenant")
    assert {tenant.decode(): int(count) for tenant, count in told.items()} == by_tenant
    assert int(client.hget(f"{PREFIX}queued-total", "jobs") or 0) == by_tenant.total()
    assert _queue_members(client) == members


def _queue_members(client: Any) -> set[str]:
    names = [
        *client.keys(f"{PREFIX}queue:*"),
        *client.keys(f"{PREFIX}suspects:*"),
        *client.keys(f"{PREFIX}followers:*"),
        f"{PREFIX}delayed".encode(),
    ]
    with client.pipeline() as pipe:
        for name in names:
            pipe.zrange(name, 0, -1)
        found = pipe.execute()
    return {
        f"{name.decode().removeprefix(PREFIX)} {job_id.decode()}"
        for name, ids in zip(names, found, strict=True)
        for job_id in ids
    }
