"""What KEDA scales workers by: the work that is there, and never the length of a list."""

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

from tests.conftest import absent
from tests.deployment import manifests, scaling_queries

SCHEMA = json.loads(Path(__file__).with_name("keda_scaledobject.json").read_text())
"""KEDA's own definition; where it is from is said in it."""
OF_PROMETHEUS = {"serverAddress", "threshold", "query"}
"""What such a trigger must be told; the definition leaves that to each kind of trigger."""


@pytest.fixture(scope="module")
def scaled() -> dict[str, Any]:
    """The object that scales workers."""
    return manifests()["ScaledObject/worker"]


@pytest.fixture(scope="module")
def queries() -> dict[str, str]:
    """What its triggers ask Prometheus, by the trigger's name."""
    return scaling_queries()


def test_it_has_the_form_that_keda_takes(scaled: dict[str, Any]) -> None:
    jsonschema.validate(scaled, SCHEMA)
    for trigger in scaled["spec"]["triggers"]:
        assert trigger["type"] == "prometheus"
        assert trigger["metricType"] in {"AverageValue", "Value"}
        assert set(trigger["metadata"]) == OF_PROMETHEUS
        assert trigger["metadata"]["serverAddress"].startswith("http")
        assert float(trigger["metadata"]["threshold"]) > 0
    behaviour = scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behaviour["scaleDown"]["stabilizationWindowSeconds"] >= 300
    assert scaled["spec"]["minReplicaCount"] <= scaled["spec"]["maxReplicaCount"]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("spec", "minReplicas"), 1),  # the name that it has in a HorizontalPodAutoscaler
        (("spec", "maxReplicaCount"), "8"),
        (("spec", "triggers", 0, "metadata", "threshold"), 2),
        (("spec", "advanced", "horizontalPodAutoscalerConfig", "behaviour"), {}),
        (("apiVersion",), "keda.k8s.io/v1alpha1"),
    ],
)
def test_what_keda_does_not_know_is_seen(
    scaled: dict[str, Any], place: tuple[Any, ...], value: Any
) -> None:
    wrong = deepcopy(scaled)
    *above, last = place
    functools.reduce(lambda part, name: part[name], above, wrong)[last] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


def test_it_scales_the_workers_and_nothing_else_says_how_many_there_are(
    scaled: dict[str, Any],
) -> None:
    worker = manifests()[f"Deployment/{scaled['spec']['scaleTargetRef']['name']}"]
    assert worker["metadata"]["name"] == "worker"
    assert "replicas" not in worker["spec"]


def test_it_asks_for_the_model_that_is_served(queries: dict[str, str]) -> None:
    served = manifests()["ConfigMap/settings"]["data"]["LLAVA_JOBS_MODEL"]
    for query in queries.values():
        assert set(re.findall(r'model="([^"]+)"', query)) == {Path(served).name}


def test_it_counts_what_waits_and_runs_against_slots_and_how_long_the_oldest_has_waited(
    queries: dict[str, str],
) -> None:
    assert set(queries) == {"work", "age"}
    assert _metrics(queries["work"]) == {
        "llava_jobs_queued_jobs",
        "llava_jobs_running_jobs",
        "llava_jobs_worker_slots",
        "llava_jobs_ready_workers",
        "llava_jobs_drained_workers",
    }
    assert _metrics(queries["age"]) == {"llava_jobs_oldest_queued_age_seconds"}


def test_prometheus_computes_from_the_queries_what_is_meant(
    queries: dict[str, str], tmp_path: Path
) -> None:
    promtool = shutil.which("promtool") or absent("no promtool: run tests/fetch-tools")
    rules = [{"record": f"asked:{name}", "expr": query} for name, query in queries.items()]
    (tmp_path / "rules.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "keda", "rules": rules}]})
    )
    model = 'model="llava-v1.6-mistral-7b-hf"'
    series = [
        # Two API processes tell the same of one store, and one is behind.
        *(_series("queued_jobs", f'{model},priority="high",instance="{i}"', 40) for i in (1, 2)),
        *(_series("queued_jobs", f'{model},priority="low",instance="{i}"', 24) for i in (1, 2)),
        _series("running_jobs", f'{model},instance="1"', 64),
        _series("running_jobs", f'{model},instance="2"', 60),
        _series("worker_slots", f'{model},instance="1"', 64),
        _series("ready_workers", f'{model},instance="1"', 2),
        _series("oldest_queued_age_seconds", f'{model},instance="1"', 7),
    ]
    all_drained = [
        *(one for one in series if "slots" not in one["series"] and "ready" not in one["series"]),
        _series("worker_slots", f'{model},instance="1"', 0),
        _series("ready_workers", f'{model},instance="1"', 0),
    ]
    drained = _series("drained_workers", f'{model},instance="1"', 1)
    none_ready = [one for one in series if "slots" not in one["series"]]
    none_ready = [one for one in none_ready if "ready" not in one["series"]]
    tests = [
        _expectation(queries["work"], series, 4),  # 128 jobs at 32 slots a worker
        _expectation(queries["age"], series, 7),
        _expectation(queries["work"], none_ready, 4),
        _expectation(queries["work"], [*series, drained], 4 + 2),  # one more in its place
        _expectation(queries["work"], [*all_drained, drained], 4 + 2),
    ]
    (tmp_path / "tests.yml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yml"], "tests": tests})
    )
    ran = subprocess.run(
        [promtool, "test", "rules", "tests.yml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def _metrics(query: str) -> set[str]:
    return set(re.findall(r"llava_jobs_\w+", query))


def _series(name: str, labels: str, value: int) -> dict[str, str]:
    return {"series": f"llava_jobs_{name}{{{labels}}}", "values": f"{value}x5"}


def _expectation(query: str, series: list[dict[str, str]], value: float) -> dict[str, Any]:
    samples = [{"labels": "{}", "value": value}]
    return {
        "interval": "15s",
        "input_series": series,
        "promql_expr_test": [{"expr": query, "eval_time": "1m", "exp_samples": samples}],
    }
