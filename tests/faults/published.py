"""What others publish of their failures and of how they test for them, each as a case of ours."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.eventually import eventually
from tests.faults import soak
from tests.faults.cluster import Cluster
from tests.faults.helpdesk import Helpdesk, helpdesk
from tests.faults.layout import PLAIN, Layout
from tests.faults.process_faults import replace
from tests.faults.script import Act

LINES = 200
LINE_MS = 300
RECOVERED_S = 60.0


@dataclass(frozen=True)
class Case:
    """A case: whose, what they publish, what is done here, and what came of it, in figures.

    ``run`` fails where a promise is broken.
    """

    name: str
    source: str
    theirs: str
    means: str
    run: Callable[[Cluster], str]
    layout: Layout = PLAIN
    settings: Mapping[str, str] = field(default_factory=dict)


def killed_in_a_batch(cluster: Cluster) -> str:
    """Kill -9 of an API, which feeds batches, and of a worker, in the midst of a batch."""
    with helpdesk(cluster, "kthena") as desk:
        batch = desk.begin_batch(LINES, LINE_MS)
        desk.in_progress(batch)
        cluster.apis[0].send(signal.SIGKILL)
        victim = cluster.workers[0]
        held = cluster.held_by(victim)
        victim.send(signal.SIGKILL)
        began = time.monotonic()
        eventually(lambda: not cluster.client.exists(held), "its jobs are recovered", RECOVERED_S)
        takeover_s = time.monotonic() - began
        cluster.ready()
        told = _lines_told(desk, batch)

        other = desk.begin_batch(LINES, LINE_MS)
        desk.in_progress(other)
        began = time.monotonic()
        desk.must(0, "POST", f"/v1/batches/{other}/cancel")
        assert desk.closed(other)["status"] == "cancelled"
        cancel_s = time.monotonic() - began
    return f"{told}, takeover {takeover_s:.1f} s, cancel {cancel_s:.1f} s"


def replaced_in_a_batch(cluster: Cluster) -> str:
    """Every API is replaced by a new process in the midst of a batch."""
    with helpdesk(cluster, "litellm") as desk:
        batch = desk.begin_batch(LINES, LINE_MS)
        desk.in_progress(batch)
        for api in cluster.apis:
            replace(api)
        cluster.ready()
        return _lines_told(desk, batch)


def always_failing(cluster: Cluster) -> str:
    """A job for which the device never has memory, and which may be tried again."""
    with helpdesk(cluster, "llm-d") as desk:
        began = time.monotonic()
        job = desk.ended(desk.submit(act=Act.RUN_OUT_OF_MEMORY))
        took = time.monotonic() - began
        [record] = [found for found in [cluster.ledger.get("llm-d", job["id"])] if found]
        attempts = len(record.attempts)
        assert job["status"] == "failed"
        assert attempts <= int(cluster.setting("max_attempts")), "no more than are allowed"
    return f"{attempts} attempts in {took:.1f} s, then `failed`"


def polled_elsewhere(cluster: Cluster) -> str:
    """Each job is submitted to one API and polled at the other."""
    with helpdesk(cluster, "docling") as desk:
        jobs = [(desk.submit(api=number % 2), 1 - number % 2) for number in range(100)]
        ended = Counter(desk.ended(job, api)["status"] for job, api in jobs)
    assert ended == {"succeeded": len(jobs)}
    return f"{len(jobs)} submitted, 0 not found at the other API"


def missing_job(cluster: Cluster) -> str:
    """Jobs that do not exist are asked for, and then one that does."""
    with helpdesk(cluster, "docling") as desk:
        pids = [api.pid for api in cluster.apis]
        asked = [http.get(f"/v1/jobs/job_{'0' * 32}") for http in desk.apis for _ in range(50)]
        assert {response.status_code for response in asked} == {404}
        for api in range(2):
            assert desk.ended(desk.submit(api=api), api)["status"] == "succeeded"
        assert [api.pid for api in cluster.apis] == pids
    return f"{len(asked)} answered 404, both APIs went on"


def _lines_told(desk: Helpdesk, batch_id: str) -> str:
    """How many lines of a batch were lost and doubled, which none may be."""
    batch = desk.closed(batch_id)
    lines = Counter(desk.lines(batch["output_file_id"]) + desk.lines(batch["error_file_id"]))
    lost, doubled = LINES - len(lines), lines.total() - len(lines)
    assert (batch["status"], lost, doubled) == ("completed", 0, 0), (batch, lost, doubled)
    return f"{LINES} lines, {lost} lost, {doubled} doubled"


CASES = (
    Case(
        "kthena",
        "volcano-sh/kthena #1291, #1465",
        "kill -9 in a batch of 50,000 lines: 0 lost, 0 doubled, takeover 36 s, cancel 8 s",
        "kill -9 of an API and of a worker in a batch; then a batch is canceled",
        killed_in_a_batch,
    ),
    Case(
        "llm-d",
        "llm-d-async #391",
        "the back-off was written as the deadline: 593 attempts in 50 s",
        "a job fails at every attempt in a way that may pass",
        always_failing,
    ),
    Case(
        "docling-serve",
        "docling-project/docling-serve #346",
        "with several API pods a task is not found",
        "each job is submitted to one API and polled at the other",
        polled_elsewhere,
    ),
    Case(
        "docling-serve, missing",
        "docling-project/docling-serve #379",
        "the API is dead after a missing job was asked for",
        "missing jobs are asked for, then others are submitted",
        missing_job,
    ),
    Case(
        "LiteLLM",
        "BerriAI/litellm #41942",
        "a batch is lost where the replica that runs it restarts",
        "every API is replaced in the midst of a batch",
        replaced_in_a_batch,
    ),
    Case(
        "SGLang",
        "sgl-project/sglang #39122",
        "the store of responses grows without bound",
        "a mixed load, then ten days by the store's clock, then its keys are held to a list",
        soak.soak,
        soak.LAYOUT,
        soak.SETTINGS,
    ),
)
