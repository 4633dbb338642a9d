"""What callers say stays out of the logs, also where something breaks."""

import subprocess
import sys
from typing import Any

from llava_jobs.embedded import EmbeddedStore

PROGRAM = """
import base64, sys
from pydantic import SecretStr
from api import create_app, views
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
ledger.finish(claim, Outcome(Status.SUCCEEDED, answer={"text": "canary-answer"}))
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

views.represent = broken
assert caller.create(question="canary-question").status_code == 500
print("over", caller.key.split("_")[2], file=sys.stdout)
client.close()
app.extensions["running"].close()
"""


def test_no_question_answer_picture_or_key_is_logged(store: EmbeddedStore, client: Any) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=store.url, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    over, secret = ran.stdout.split()
    assert over == "over"
    assert "request_failed" in ran.stderr, "the failure itself is logged"
    assert "canary" not in ran.stderr
    assert secret not in ran.stderr
    assert store.url.split(":")[2].split("@")[0] not in ran.stderr
