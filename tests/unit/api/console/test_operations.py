"""The pages of operations: for operators alone, at one cost whatever waits."""

import re
import time
from dataclasses import replace
from html import unescape
from typing import Any

import pytest
from flask import Flask

from api.console.i18n import language
from jobs.job import Outcome, Reason, Status
from jobs.keys import Keys, Scope
from jobs.ledger import Ledger
from jobs.signals import Signals
from jobs.tenants import Tenants
from tests.crowds import crowd
from tests.ledgers import FAILURE, MODEL, draft, submitted
from tests.unit.api.console.conftest import Browser

en = language("en")
PATHS = ["/console", "/console/keys"]


@pytest.fixture
def operator(signed_in_with: Any) -> Browser:
    """The browser of somebody who may administer and nothing else."""
    made: Browser = signed_in_with(Scope.ADMIN)
    return made


@pytest.mark.parametrize("path", PATHS)
def test_whoever_may_not_administer_sees_nothing_of_it(browser: Browser, path: str) -> None:
    assert browser.get(path).status_code == 403


def test_whoever_may_not_administer_can_change_nothing(
    app: Flask, browser: Browser, client: Any
) -> None:
    rules = [r for r in app.url_map.iter_rules() if r.rule.startswith("/console")]
    forms = [r.rule.replace("<key_id>", "x") for r in rules if "POST" in (r.methods or ())]
    assert len(forms) == 8
    for path in forms:
        assert browser.post(path, tenant="acme", do="pause").status_code == 403, path
    assert not client.exists("lj:paused")


@pytest.mark.parametrize("path", PATHS)
def test_an_empty_installation_has_its_pages_too(operator: Browser, path: str) -> None:
    response = operator.get(path)
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "private, no-store"


def test_htmx_is_given_what_changes_and_nothing_else(operator: Browser) -> None:
    part = operator.get("/console", **{"HX-Request": "true"}).text
    assert "<html" not in part
    assert 'id="tile-queued"' in part
    assert 'id="tenant"' not in part, "what somebody types stays"


def test_a_look_costs_the_same_whatever_waits_and_has_failed(
    app: Flask, operator: Browser, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(client)
    fresh = Signals(client, 30_000, kept_s=0)
    services = replace(app.extensions["services"], signals=fresh)
    monkeypatch.setitem(app.extensions, "services", services)

    def failed(model: str) -> None:
        submitted(ledger, model=model)
        claim = ledger.claim(model, "w1")
        assert claim is not None
        ledger.finish(claim, Outcome(Status.FAILED, Reason.ERROR, error=FAILURE))

    def cost() -> int:
        client.config_resetstat()
        assert operator.get("/console").status_code == 200
        told: dict[str, dict[str, int]] = client.info("commandstats")
        return sum(
            command["calls"]
            for name, command in told.items()
            if name.partition("_")[2] not in ("client|setinfo", "hello", "config|resetstat")
        )

    for _ in range(30):
        failed(MODEL)
        submitted(ledger)
    few = cost()
    for _ in range(300):
        failed("another")
        submitted(ledger)
    client.srem("lj:models", "another")
    assert cost() <= few


def test_a_look_reads_as_much_with_twenty_thousand_jobs_queued_as_with_two_hundred(
    app: Flask, operator: Browser, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = Signals(client, 30_000, kept_s=0)
    services = replace(app.extensions["services"], signals=fresh)
    monkeypatch.setitem(app.extensions, "services", services)

    def cost(queued: int) -> tuple[dict[str, int], int]:
        crowd(client, queued)
        shown = operator.get("/console")
        assert f"{queued_in_all():,}" in shown.text
        client.config_resetstat()
        operator.get("/console")
        told = client.info("all")
        calls = {name: one["calls"] for name, one in told.items() if name.startswith("cmdstat_")}
        return calls, told["total_net_output_bytes"]

    def queued_in_all() -> int:
        return sum(fresh.read().models[MODEL].queued.values())

    few, small = cost(200)
    many, large = cost(20_000)
    assert queued_in_all() == 20_200
    assert many == few
    assert abs(large - small) < 500, "longer numbers, and no more of them"


def test_a_worker_that_missed_two_heartbeats_is_silent_and_its_slots_do_not_count(
    operator: Browser, client: Any
) -> None:
    ledger = Ledger(client)
    for worker, milliseconds in (("w1", 0), ("w2", 9_000), ("w3", 11_000)):
        ledger.renew(worker, MODEL, {"slots": 4}, {})
        client.zincrby(f"lj:workers:{MODEL}", -milliseconds, worker)
    page = operator.get("/console").text
    [tile] = re.findall(r'id="tile-slots">.*?</div>', page)
    assert '0<span class="of"> / 8</span>' in tile
    assert "2 workers take jobs" in tile
    rows = re.findall(r'<tr id="worker-(\w+)">.*?class="badge (\w+)"', page, re.DOTALL)
    assert sorted(rows) == [("w1", "ready"), ("w2", "ready"), ("w3", "silent")]


def test_that_no_worker_is_heard_of_is_told(operator: Browser, client: Any) -> None:
    Ledger(client).renew("w1", MODEL, {"slots": 4}, {})
    client.zincrby(f"lj:workers:{MODEL}", -11_000, "w1")
    assert en("console.workers.none_heard") in operator.get("/console").text


def test_questions_and_answers_are_not_shown(operator: Browser, client: Any) -> None:
    ledger = Ledger(client)
    job, _ = ledger.submit(draft(metadata={"secret": "canary"}))
    claim = ledger.claim(MODEL, "w1")
    assert claim is not None
    ledger.finish(claim, Outcome(Status.FAILED, Reason.ERROR, error=FAILURE))
    page = operator.get("/console").text
    assert job.id in page
    assert job.conversation.question not in page
    assert "canary" not in page


@pytest.mark.parametrize(
    ("path", "form", "status"),
    [
        ("/console/workers", {"worker": "w9", "do": "finish"}, 404),
        ("/console/workers", {"worker": "w9", "do": "resume"}, 404),
        ("/console/failures", {"reason": "boredom"}, 404),
        ("/console/failures", {"reason": "error", "skip": "-1"}, 303),
        ("/console/failures/job", {"job": "job_none"}, 404),
        ("/console/keys", {"tenant": "a b", "scope": "read"}, 422),
        ("/console/keys", {"tenant": "acme"}, 422),
        ("/console/keys", {"tenant": "acme", "scope": "read", "life": "7"}, 422),
        ("/console/keys/none/rotate", {"overlap": "24"}, 404),
        ("/console/keys/none/rotate", {"overlap": "for ever"}, 422),
        ("/console/keys/none/revoke", {}, 404),
        ("/console/keys/limits", {"tenant": "acme", "queued_jobs": "many"}, 422),
        ("/console/keys/limits", {"tenant": "a b", "queued_jobs": "1"}, 422),
    ],
)
def test_a_form_that_cannot_be_is_told_and_changes_nothing(
    operator: Browser, client: Any, path: str, form: dict[str, Any], status: int
) -> None:
    keys = Keys(client).list()
    assert operator.post(path, **form).status_code == status
    assert Keys(client).list() == keys
    assert not client.exists("lj:tenants")


@pytest.mark.parametrize("number", ["1000000001", "0" * 20 + "9" * 400, "9" * 5000, "²", "-1"])
def test_a_limit_beyond_its_bound_is_not_set(operator: Browser, client: Any, number: str) -> None:
    response = operator.post("/console/keys/limits", tenant="acme", queued_jobs=number)
    assert response.status_code == 422
    assert en("console.keys.error.no_limit") in unescape(response.text)
    assert not client.exists("lj:tenants")


def test_leading_zeros_of_a_limit_are_no_part_of_it(operator: Browser, client: Any) -> None:
    operator.post("/console/keys/limits", tenant="acme", queued_jobs="0" * 30 + "7")
    assert Tenants(client).limits("acme").queued_jobs == 7


def test_a_key_of_a_life_that_cannot_be_is_refused_for_that(operator: Browser) -> None:
    response = operator.post("/console/keys", tenant="acme", scope="read", life="7")
    assert en("console.keys.error.no_life") in response.text
    assert en("console.keys.error.no_scope") not in response.text


def test_a_key_that_has_expired_is_marked(operator: Browser, client: Any) -> None:
    Keys(client, lambda: time.time() - 120).create("late", expires_in_s=60)
    Keys(client).create("early", expires_in_s=60)
    expired = f'<span class="badge">{en("console.keys.expired")}</span>'
    assert expired in operator.get("/console/keys?tenant=late").text
    assert expired not in operator.get("/console/keys?tenant=early").text


def test_a_tenant_that_cannot_be_is_not_paused(operator: Browser, client: Any) -> None:
    for name in ("*", "", "a b"):
        response = operator.post("/console/intake", whose="tenant", tenant=name, do="pause")
        assert response.headers["Location"] == "/console?done=no_tenant"
    assert not client.exists("lj:paused")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("done=<script>", []),
        ("done=retried&retried=-1&left=x&reason=y", ["Asked again: 0."]),
    ],
)
def test_a_link_says_nothing_that_it_should_not(
    operator: Browser, query: str, expected: list[str]
) -> None:
    page = operator.get(f"/console?{query}")
    assert page.status_code == 200
    assert "<script>" not in page.text
    said = re.findall(r'<p class="notice \w+" role="status">(.*?)</p>', page.text, re.DOTALL)
    assert [" ".join(one.split()) for one in said] == expected
