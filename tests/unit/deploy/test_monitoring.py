"""Prometheus and Grafana are given their files, and find whom to ask on the right ports."""

from typing import Any

import yaml

from tests.deployment import DEPLOY, SERVICES, command_of, containers, environment_of

PROMETHEUS: dict[str, Any] = yaml.safe_load((DEPLOY / "monitoring" / "prometheus.yml").read_text())
PLACES = {
    (name, found["port"])
    for job in PROMETHEUS["scrape_configs"]
    for found in job["dns_sd_configs"]
    for name in found["names"]
}


def test_prometheus_asks_services_on_the_ports_on_which_they_answer() -> None:
    port = int(SERVICES["worker"]["environment"]["LLAVA_JOBS_METRICS_PORT"])
    assert {("api", 8000), ("worker", port), ("worker-cpu", port)} == PLACES
    assert "0.0.0.0:8000" in command_of("api")
    worker = dict(containers())["Deployment/worker/worker"]
    variables = {v["name"]: v.get("value") for v in worker["env"]}
    assert variables["LLAVA_JOBS_METRICS_PORT"] == str(port)
    assert [p["containerPort"] for p in worker["ports"]] == [port]


def test_prometheus_is_on_a_network_with_each_of_them_and_grafana_with_prometheus() -> None:
    networks = {name: set(service["networks"]) for name, service in SERVICES.items()}
    for name, _ in PLACES:
        assert networks[name] & networks["prometheus"]
    assert networks["grafana"] & networks["prometheus"]
    assert not networks["grafana"] & networks["store"]


def test_alerts_lead_to_the_copy_of_the_runbook_that_the_env_file_names() -> None:
    assert PROMETHEUS["global"]["external_labels"] == {"runbooks": "${RUNBOOKS_URL}"}
    told = environment_of("prometheus", {"RUNBOOKS_URL": "https://git.example.com/docs"})
    assert told == {"RUNBOOKS_URL": "https://git.example.com/docs"}
    version = SERVICES["prometheus"]["image"].rpartition(":v")[2]
    assert int(version.split(".")[0]) >= 3, "before, a label is not expanded without being told to"


def test_each_finds_its_files_where_it_looks() -> None:
    command = command_of("prometheus")
    assert "--config.file=/etc/prometheus/prometheus.yml" in command
    assert "./deploy/monitoring:/etc/prometheus:ro" in SERVICES["prometheus"]["volumes"]
    for file in PROMETHEUS["rule_files"]:
        assert (DEPLOY / "monitoring" / file).exists()
    mounted = "./deploy/monitoring/grafana:/etc/grafana/provisioning:ro"
    assert mounted in SERVICES["grafana"]["volumes"]
    grafana = DEPLOY / "monitoring" / "grafana"
    [source] = yaml.safe_load((grafana / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    [provider] = yaml.safe_load((grafana / "dashboards" / "provider.yml").read_text())["providers"]
    assert provider["options"]["path"] == "/etc/grafana/provisioning/dashboards"
    assert list((grafana / "dashboards").glob("*.json"))
