"""Alerts and dashboard: valid, tried, laid out and explained."""

import functools
import json
import re
import shutil
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from jobs.settings import Settings
from tests.conftest import absent
from tests.eventually import PATIENCE_S

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "monitoring"
ALERTS: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
CASES = yaml.safe_load((FOLDER / "alerts.test.yml").read_text())["tests"]
DASHBOARD: dict[str, Any] = json.loads(
    (FOLDER / "grafana" / "dashboards" / "llava-jobs.json").read_text()
)
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
METRIC = re.compile(r"\bllava_jobs_[a-z_]+")


def promtool(*arguments: str) -> str:
    """Run promtool; fails where it finds fault."""
    if shutil.which("promtool") is None:
        absent("no promtool: run tests/fetch-tools")
    ran = subprocess.run(
        ["promtool", *arguments],
        capture_output=True,
        text=True,
        cwd=FOLDER,
        timeout=PATIENCE_S,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_prometheus_takes_the_configuration_and_the_alerts() -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "config", "prometheus.yml")


def test_the_alerts_fire_on_what_they_should_and_on_nothing_else() -> None:
    promtool("test", "rules", "alerts.test.yml")


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_quiet() -> None:
    tried = {True: set[str](), False: set[str]()}
    for case in CASES:
        for one in case["alert_rule_test"]:
            tried[bool(one.get("exp_alerts"))].add(one["alertname"])
    names = {alert["alert"] for alert in ALERTS}
    assert tried == {True: names, False: names}


def test_what_the_store_says_is_not_added_up_over_servers() -> None:
    """Each API server tells the same; adding them would count a job once a server."""
    alone = ("llava_jobs_http_", "llava_jobs_engine_", "llava_jobs_gpu_", "llava_jobs_answering_")
    for query in [*QUERIES, *(alert["expr"] for alert in ALERTS)]:
        for found in METRIC.finditer(query):
            if found[0].startswith((*alone, "llava_jobs_preprocessing_")):
                continue
            before = query[: found.start()]
            around = re.findall(
                r"\b(max|min|sum|absent)(?: by \([^)]*\))? ?\((?=[^()]*(?:\(|$))", before
            )
            assert around, query
            assert around[-1] != "sum", query


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_is_explained_in_the_runbook(alert: dict[str, Any]) -> None:
    name, told = alert["alert"], alert["annotations"]
    root = '{{ or $externalLabels.runbooks "docs" }}'
    assert told["runbook_url"] == f"{root}/runbook.md#{name.lower()}"
    assert told["summary"]
    assert alert["labels"]["severity"] in {"warning", "critical"}
    [section] = re.findall(rf"^## {name}\n(.+?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert re.search(r"^(1\. |\| look at|\| reason)", section, re.MULTILINE), "a way to the cause"


def test_the_runbook_explains_no_alert_that_is_not_there() -> None:
    assert re.findall(r"^## (\w+)", RUNBOOK, re.MULTILINE) == [alert["alert"] for alert in ALERTS]


def test_the_runbook_names_settings_that_exist() -> None:
    settings = {f"LLAVA_JOBS_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"LLAVA_JOBS_[A-Z_]+", RUNBOOK)) <= settings


def test_links_within_the_runbook_lead_to_its_sections() -> None:
    sections = {heading.lower() for heading in re.findall(r"^## (\w+)", RUNBOOK, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([a-z]+)\)", RUNBOOK)) <= sections


GRAFANA: dict[str, Any] = json.loads(Path(__file__).with_name("grafana_dashboard.json").read_text())
"""Grafana's own definition; where it is from is said in it."""


def test_the_dashboard_has_the_form_that_grafana_publishes() -> None:
    jsonschema.validate(DASHBOARD, GRAFANA)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("panels", 1, "targts"), []),
        (("panels", 1, "gridPos", "w"), "wide"),
        (("templating", "list", 0, "type"), "choice"),
        (("refresh",), 10),
    ],
)
def test_what_grafana_does_not_know_is_seen(place: tuple[Any, ...], value: Any) -> None:
    wrong = deepcopy(DASHBOARD)
    *above, last = place
    functools.reduce(lambda part, name: part[name], above, wrong)[last] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, GRAFANA)


def test_panels_do_not_overlap_and_each_says_what_it_shows() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, (panel["title"], taken.get((x, y)))
                taken[x, y] = panel["title"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_grafana_is_given_the_datasource_and_the_folder_of_the_dashboard() -> None:
    grafana = FOLDER / "grafana"
    source = yaml.safe_load((grafana / "datasources" / "prometheus.yml").read_text())
    provider = yaml.safe_load((grafana / "dashboards" / "provider.yml").read_text())
    assert source["datasources"][0]["type"] == "prometheus"
    assert provider["providers"][0]["type"] == "file"
    assert provider["providers"][0]["options"]["path"].endswith("/dashboards")
