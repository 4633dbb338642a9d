"""schemathesis finds nothing in a running installation that its description does not say.

It is run as its users run it, over every call, with well-formed and with broken requests, along the
links from answer to call, with the keys of two tenants that must not see each other's things.
"""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api.openapi.sections import operations
from llava_jobs.demo import PICTURES, examples
from tests.conftest import absent
from tests.installations import COMMAND, Installation, caller, run, submit

ROOT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).with_name("st")
PICTURE = PICTURES / examples()[0].picture
WITHIN_S = 900
"""Only a hang takes so long: how much is tried is counted in examples."""
CONFIG = """
hooks = "tests.clients.schemathesis_hooks"
continue-on-failure = true
auth.wfc = {{ path = "{keys}", peers = ["one", "another"] }}
cache.enabled = false
reports.ndjson.path = "{report}"
generation = {{ database = "none", max-examples = 20 }}
phases.stateful.generation.max-examples = 80

[checks]
# A model, a picture or a job that is not there cannot be told from one that is by its form.
positive_data_acceptance.enabled = false
negative_data_rejection.expected-statuses = {refusals}

[dictionaries]
groups.values = {groups}

[[operations]]
include-operation-id = {fatal}
enabled = false

[[operations]]
include-path = ["/v1/groups/{{name}}", "/v1/groups/{{name}}/cancel"]
parameters."path.name".dictionary = "groups"
# A group may have the name "x/cancel", which DELETE then finds at the same path.
checks.allow_header_conformance.enabled = false
"""
GROUPS = [f"ticket-{number}" for number in range(124, 144)]
"""Each has a job; the names that schemathesis makes up are no group's."""
REFUSALS = [400, 401, 403, 404, 405, 406, 409, 414, 415, 422, 428, 429]
FATAL = {
    "revoke_key": "DELETE /v1/admin/keys/{key_id}",
    "rotate_key": "POST /v1/admin/keys/{key_id}/rotate",
}
"""Calls by which an operator's key would end the trial; tests/unit/api holds them to the same."""
OUT_OF_REACH = {
    *("POST /v1/webhooks/enable", "POST /v1/jobs/{job_id}/deliveries"),
    *("POST /v1/batches", "GET /v1/batches/{batch_id}", "POST /v1/batches/{batch_id}/cancel"),
    "DELETE /v1/batches/{batch_id}",
    *("POST /v1/jobs/{job_id}/retry", "POST /v1/admin/jobs/{job_id}/retry"),
    "GET /openapi.json",
    *FATAL.values(),
}
"""Calls that need a receiver of webhooks, a file that was sent before or a job that failed; what
schemathesis begins with; and those above."""


@dataclass(frozen=True)
class Verdict:
    """What schemathesis said, and which statuses each call was answered with."""

    status: int
    said: str
    answers: Counter[tuple[str, int]]
    linked: int

    def times(self, call: str, *statuses: int) -> int:
        """How often a call was answered with one of these statuses."""
        return sum(self.answers[call, status] for status in statuses)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation of its own, as keys and limits of tenants are made and changed in it."""
    if not PROGRAM.exists() or not Path(COMMAND[0]).exists():
        absent("schemathesis or llava-jobs is not installed beside this interpreter")
    running = Installation(tmp_path_factory.mktemp("judged"), requests_per_minute="1000000")
    try:
        running.ready()
        yield running
    finally:
        running.end()


def key(installation: Installation, tenant: str, *scopes: str) -> dict[str, Any]:
    """A new key of a tenant as schemathesis reads it."""
    options = [option for scope in scopes for option in ("--scope", scope)]
    place = ["--data-dir", str(installation.data_dir)]
    _, said = run("keys", "create", "--tenant", tenant, *options, *place)
    [secret] = re.findall(r"lj_\w+", said)
    header = {"name": "Authorization", "value": f"Bearer {secret}"}
    return {"name": tenant, "fixedHeaders": [header]}


def secret_of(person: dict[str, Any]) -> str:
    """The key of one of schemathesis's people."""
    return str(person["fixedHeaders"][0]["value"].removeprefix("Bearer "))


def judge(installation: Installation, folder: Path, seed: int) -> Verdict:
    """Run schemathesis over an installation."""
    keys, report, config = folder / "keys.json", folder / "report.ndjson", folder / "st.toml"
    people = [
        key(installation, "one", "read", "submit"),
        key(installation, "another", "read", "submit"),
        key(installation, "operators", "admin"),
    ]
    keys.write_text(json.dumps({"auth": people}))
    refusals = [str(status) for status in REFUSALS]
    told = {"refusals": json.dumps(refusals), "groups": json.dumps(GROUPS)}
    told["fatal"] = json.dumps(list(FATAL))
    config.write_text(CONFIG.format(keys=keys, report=report, **told))
    with caller(installation.url, secret_of(people[0])) as http:
        for group in GROUPS:
            submit(http, PICTURE.read_bytes(), group=group)
    ran = subprocess.run(
        [
            *(str(PROGRAM), "--no-color", "--config-file", str(config)),
            *("run", f"{installation.url}/openapi.json", "--seed", str(seed)),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=WITHIN_S,
    )
    answers: Counter[tuple[str, int]] = Counter()
    linked = 0
    for line in report.read_text().splitlines():
        recorder = json.loads(line).get("ScenarioFinished", {}).get("recorder", {})
        for name, exchange in recorder.get("interactions", {}).items():
            case = recorder["cases"][name]
            call = f"{case['value']['method']} {case['value']['path']}"
            answered = exchange.get("response") or {}
            answers[call, int(answered.get("status_code", 0))] += 1
            linked += case["is_transition_applied"]
    return Verdict(ran.returncode, ran.stdout, answers, linked)


def test_schemathesis_finds_nothing(judged: Installation, tmp_path: Path, seed: int) -> None:
    verdict = judge(judged, tmp_path, seed)
    assert verdict.status == 0, f"TEST_SEED={seed}\n{verdict.said}"
    calls = {operation.call for operation in operations()}
    unreached = {call for call in calls if not verdict.times(call, 200, 201, 202, 204)}
    # Which requests are made up is chance; that nearly all calls are reached is not.
    assert len(unreached - OUT_OF_REACH) <= 4, f"none of these was accepted: {unreached}"
    assert verdict.times("POST /v1/jobs", 200, 202) >= 1
    assert verdict.times("POST /v1/jobs", 400, 415, 422) >= 10
    # How far links are followed is chance, too: answers differ from run to run, which Hypothesis
    # takes for a flaky strategy (FlakyStrategyDefinition), and schemathesis for the phase's end.
    assert verdict.linked >= 1
