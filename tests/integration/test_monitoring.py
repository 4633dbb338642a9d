"""What alerts, dashboard and KEDA ask for is what an installation tells a real Prometheus."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client import generate_latest

from tests.conftest import absent
from tests.deployment import scaling_queries
from tests.eventually import PATIENCE_S, eventually
from tests.installations import Installation, Running, ended, environment, free_port, submit
from tests.unit.test_monitoring import ALERTS, FOLDER, METRIC, QUERIES
from tests.unit.worker.test_metrics import Busy
from worker.metrics import WorkerMetrics

ASKED = [*QUERIES, *(alert["expr"] for alert in ALERTS), *scaling_queries().values()]
SELECTOR = re.compile(r"\b(llava_jobs_[a-z_]+)\{([^}]*)\}")
GROUPED = re.compile(r"\b(?:by|on|without|ignoring) \(([^)]*)\)")
TOKENS = "sum(llava_jobs_engine_tokens_total)"
OF_A_GPU = generate_latest(WorkerMetrics(Busy()).registry).decode()


@pytest.fixture(scope="module")
def targets(installation: Installation) -> list[str]:
    """Where the API and the worker of the installation show their metrics."""
    return [f"127.0.0.1:{installation.port}", f"127.0.0.1:{installation.settings['metrics_port']}"]


@pytest.fixture
def worked(http: httpx.Client, picture: bytes) -> None:
    """The installation has answered a job."""
    ended(http, submit(http, picture, max_new_tokens="4")["id"])


@pytest.fixture
def exported(worked: None, targets: list[str]) -> dict[str, set[str]]:
    """The labels of every sample that API and worker show, by name; a GPU's come from none."""

    def told() -> str:
        text = "".join(httpx.get(f"http://{target}/metrics").text for target in targets)
        return text if "llava_jobs_last_claim_age_seconds{" in text else ""

    text = eventually(told, "a reading after the job") + OF_A_GPU
    labels: dict[str, set[str]] = {}
    for name, pairs in re.findall(r"^(llava_jobs_\w+)(?:\{(.*)\})? \S+$", text, re.MULTILINE):
        labels.setdefault(name, set()).update(re.findall(r'(\w+)="', pairs))
    return labels


def test_queries_ask_for_metrics_and_labels_that_exist(exported: dict[str, set[str]]) -> None:
    for query in ASKED:
        names = set(METRIC.findall(query))
        assert names - set(exported) == set(), query
        for name, matchers in SELECTOR.findall(query):
            assert set(re.findall(r"(\w+)(?:=|!)", matchers)) - exported[name] == set(), query
        known = {label for name in names for label in exported[name]} | {"instance", "job"}
        grouped = {label for found in GROUPED.findall(query) for label in found.split(", ")}
        assert grouped - {""} - known == set(), query


def test_every_metric_is_shown_or_watched_somewhere(exported: dict[str, set[str]]) -> None:
    def whole(names: set[str]) -> set[str]:
        return {re.sub("_(bucket|count|sum)$", "", name) for name in names}

    assert whole(set(exported)) == whole(set(METRIC.findall(" ".join(ASKED))))


def test_prometheus_finds_no_fault_with_the_names(worked: None, targets: list[str]) -> None:
    if shutil.which("promtool") is None:
        absent("no promtool: run tests/fetch-tools")
    texts = [httpx.get(f"http://{target}/metrics").text for target in targets]
    for text in (*texts, OF_A_GPU):
        command = ["promtool", "check", "metrics"]
        ran = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")


@pytest.fixture
def prometheus(tmp_path: Path, targets: list[str]) -> Iterator[httpx.Client]:
    """A Prometheus with our alerts that reads from the installation every half second."""
    if shutil.which("prometheus") is None:
        absent("no prometheus: run tests/fetch-tools")
    port, config = free_port(), yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    config["rule_files"] = [str(FOLDER / "alerts.yml")]
    for scrape, target in zip(config["scrape_configs"], targets, strict=True):
        del scrape["dns_sd_configs"]
        scrape["static_configs"] = [{"targets": [target]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = [
        *("prometheus", f"--config.file={tmp_path}/prometheus.yml"),
        *(f"--storage.tsdb.path={tmp_path}/data", f"--web.listen-address=127.0.0.1:{port}"),
    ]
    running = Running(command, environment())
    try:
        running.line("Server is ready")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            yield client
    finally:
        running.end()


def _answer(prometheus: httpx.Client, query: str) -> list[Any]:
    asked = query.replace("$__rate_interval", "1m").replace("$model", ".*")
    response = prometheus.get("/api/v1/query", params={"query": asked})
    assert response.status_code == 200, (asked, response.text)
    found: list[Any] = response.json()["data"]["result"]
    return found


def test_a_real_prometheus_answers_every_query_of_the_dashboard(
    prometheus: httpx.Client, http: httpx.Client, picture: bytes
) -> None:
    eventually(lambda: len(_answer(prometheus, "up == 1")) == 2, "both targets are read")
    for _ in range(2):  # rates need an increase between two readings
        before = _answer(prometheus, TOKENS)
        ended(http, submit(http, picture, max_new_tokens="4")["id"])
        eventually(partial(_has_changed, prometheus, before), "the job's tokens are read")
    left = {query for query in QUERIES if "gpu_memory" not in query}
    eventually(lambda: not _unanswered(prometheus, left), f"an answer to each of {left}")


def _has_changed(prometheus: httpx.Client, before: list[Any]) -> bool:
    def values(found: list[Any]) -> list[str]:
        return [sample["value"][1] for sample in found]

    return values(_answer(prometheus, TOKENS)) != values(before)


def _unanswered(prometheus: httpx.Client, queries: set[str]) -> set[str]:
    for query in list(queries):
        if _answer(prometheus, query):
            queries.discard(query)
    return queries


def test_a_real_prometheus_evaluates_the_alerts(prometheus: httpx.Client) -> None:
    def evaluated() -> list[Any]:
        [group] = prometheus.get("/api/v1/rules").json()["data"]["groups"]
        rules: list[Any] = group["rules"]
        return rules if all(rule["health"] != "unknown" for rule in rules) else []

    rules = eventually(evaluated, "every rule was evaluated")
    assert len(rules) == len(ALERTS)
    assert {rule["health"] for rule in rules} == {"ok"}, [r for r in rules if r["health"] != "ok"]
