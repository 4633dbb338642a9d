"""The soak: a mixed load, then all retentions pass, and the store holds no more than it may."""

from __future__ import annotations

from collections import Counter

from jobs.scripts import PREFIX
from tests.eventually import eventually
from tests.faults.cluster import AHEAD_S, Cluster
from tests.faults.helpdesk import PICTURE, helpdesk
from tests.faults.layout import Layout
from tests.faults.script import Act
from tests.installations import COMMAND, Running, free_port
from tests.leftovers import leftovers

LAYOUT = Layout(clock=True)
SETTINGS = {"webhook_networks": "127.0.0.0/8", "webhook_http_hosts": "127.0.0.1"}
TENANTS = ("one", "other")
JOBS = 60
LATER_S = 10 * 86_400
"""After so long nothing of a job, a file, a batch or a webhook is kept, whatever became of it."""
SOON_S = 120.0


def soak(cluster: Cluster) -> str:
    """Do a bit of everything, let ten days pass by the store's clock, and look what is left."""
    sender = Running([*COMMAND, "deliver"], cluster.environment(cluster.of_apis))
    try:
        jobs = sum(_load(cluster, tenant) for tenant in TENANTS)
        eventually(lambda: not cluster.client.exists(f"{PREFIX}due"), "all jobs have ended", SOON_S)
        cluster.move_clock(AHEAD_S + LATER_S)
        try:
            eventually(lambda: not leftovers(cluster.client), "all of it is gone", SOON_S)
        except AssertionError:
            left = Counter(name.split(":")[1] for name in leftovers(cluster.client))
            raise AssertionError(f"left in the store: {dict(left)}") from None
    finally:
        sender.end()
    return f"{jobs} jobs, left 0"


def _load(cluster: Cluster, tenant: str) -> int:
    """What one tenant does; how many jobs that makes."""
    with helpdesk(cluster, tenant) as desk:
        desk.must(0, "POST", "/v1/webhooks/secret")
        hook = {"url": f"http://127.0.0.1:{free_port()}/nobody"}
        jobs = [desk.submit(number % 2, group=f"g{number % 7}") for number in range(JOBS)]
        jobs += [desk.submit(webhook=hook) for _ in range(10)]
        jobs += [desk.submit(act=Act.RUN_OUT_OF_MEMORY), desk.submit(milliseconds=500)]
        desk.must(0, "POST", f"/v1/jobs/{jobs[-1]}/cancel")
        desk.must(0, "DELETE", f"/v1/jobs/{jobs[0]}")
        desk.ended(jobs[-2])
        desk.must(1, "POST", f"/v1/jobs/{jobs[-2]}/retry")
        for _ in range(3):
            desk.must(0, "POST", "/v1/images", json={"data": PICTURE})
        batch, canceled = (desk.begin_batch(40, 5) for _ in range(2))
        desk.must(1, "POST", f"/v1/batches/{canceled}/cancel")
        desk.closed(batch)
        desk.closed(canceled)
    return len(jobs) + 1
