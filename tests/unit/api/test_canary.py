"""What callers say stays out of the logs, also where something breaks."""

import json
import re
import subprocess
import sys
from typing import Any

from llava_jobs.embedded import EmbeddedStore
from tests.eventually import PATIENCE_S

FIELDS = {
    *("event", "level", "timestamp", "job", "attempt", "worker", "tenant", "trace"),
    *("method", "route", "status", "ms", "error", "where", "code", "try", "outcome"),
    *("model", "leases_expired", "ended", "reason"),
}
"""What a line may say; none of it comes from a request's body, path or query."""
PROGRAM = """
import base64, sys
from pydantic import SecretStr
from api import create_app
from api.jobs import routes
from jobs.deliveries import Deliveries
from jobs.job import Outcome, Status
from jobs.ledger import Ledger
from jobs.sender import sender
from jobs.settings import Settings
from jobs.store import connect
from tests.unit.api.conftest import DATA_URI, Caller, body

url = sys.stdin.read()
app = create_app(Settings(redis_url=SecretStr(url), sweep_ms=20))
caller = Caller(app.test_client(), app.extensions["keys"].create("acme"))
caller.submit(question="canary-question", group="canary-group", metadata={"canary-name": 1})
client = connect(url)
ledger = Ledger(client)
claim = ledger.claim("demo", "w1")
answer = {"text": "canary-answer", "finish_reason": "stop"}
ledger.finish(claim, Outcome(Status.SUCCEEDED, answer=answer))
assert caller.job(claim.job.id)["answer"]["text"] == "canary-answer"
caller("POST", "/v1/webhooks/secret")
told = caller.submit(question="canary-told", webhook={"url": "https://127.1.canary.invalid/"})
ledger.cancel("acme", told)
[delivery] = Deliveries(client).claim(1, 1000)
sender(client, Settings(redis_url=SecretStr(url))).attempt(delivery)
caller.create(images=[{"url": "https://canary.invalid/canary.png"}])
caller.create(webhook={"url": "https://canary@canary.invalid/"})
caller.create(question=["canary-question"])
caller.create(images=[{"data": "canary-picture"}])
caller.create(**{"canary-field": 1})
caller("GET", "/v1/jobs/canary-id?canary-query=1", headers={"Authorization": "Bearer canary-key"})

def broken(job, position):
    raise RuntimeError(job.conversation.question + "canary-exception")

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
routes.represent = broken
assert caller.create(question="canary-question").status_code == 500
caller("CANARY", "/canary?canary=1", headers={"traceparent": "canary", "User-Agent": "canary"})
caller("GET", "/v1/models", headers={"traceparent": TRACE})
caller("GET", "/healthz")
metrics = caller("GET", "/metrics").text
assert "llava_jobs_ended_jobs_total" in metrics
assert "canary" not in metrics.lower()
assert caller.key.split("_")[2] not in metrics
print("over", caller.key.split("_")[2], file=sys.stdout)
client.close()
app.extensions["running"].close()
"""


def test_no_question_answer_picture_or_key_is_logged(store: EmbeddedStore, client: Any) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=store.url,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert ran.returncode == 0, ran.stderr
    over, secret = ran.stdout.split()
    assert over == "over"
    assert "request_failed" in ran.stderr, "the failure itself is logged"
    assert "canary" not in ran.stderr.lower()
    assert secret not in ran.stderr
    assert store.url.split(":")[2].split("@")[0] not in ran.stderr
    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    assert {name for line in lines for name in line} <= FIELDS
    requests = [line for line in lines if line["event"] == "request"]
    assert all(line["ms"] >= 0 for line in requests)
    assert all(line.get("tenant") in ("acme", None) for line in requests)
    first, *_, last = requests
    assert (first["method"], first["route"], first["status"]) == ("POST", "/v1/jobs", 202)
    assert re.fullmatch("job_[0-9a-f]{32}", first["job"])
    assert (last["route"], last["trace"]) == ("/v1/models", "4bf92f3577b34da6a3ce929d0e0e4736")
    unknown = requests[-2]
    assert (unknown["method"], unknown["route"], unknown["status"]) == ("OTHER", "none", 404)
    assert not {"job", "tenant", "trace"} & set(unknown), "nothing of the request before"
    [failed] = [line for line in lines if line["event"] == "request_failed"]
    assert {"job", "tenant", "where"} <= set(failed)


def test_a_request_is_not_logged_where_that_is_not_wanted(store: EmbeddedStore) -> None:
    program = (
        "import sys; from pydantic import SecretStr; from api import create_app\n"
        "from jobs.settings import Settings\n"
        "app = create_app(Settings(redis_url=SecretStr(sys.stdin.read()), access_log=False))\n"
        "assert app.test_client().get('/v1/models').status_code == 401\n"
        "app.extensions['running'].close()\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        input=store.url,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
