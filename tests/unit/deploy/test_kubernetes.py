"""What Kubernetes is told is what it takes, and agrees with the code and with the compose file."""

import re
from typing import Any

import kubernetes_validate
import pytest
import yaml

from api.server import gunicorn_conf
from jobs.settings import Settings
from tests.deployment import (
    DEPLOY,
    PASSWORDS,
    SERVICES,
    SETTINGS,
    Manifest,
    check_of,
    command_of,
    containers,
    manifests,
    pods,
)

CUSTOM = {"ScaledObject"}
"""Kinds that Kubernetes itself does not know."""
OTHER_VARIABLES = {"STORE_PASSWORD", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "HF_HUB_OFFLINE"}
SERVICE_OF = {
    "Deployment/api/api": "api",
    "Deployment/api/nginx": "nginx",
    "Deployment/worker/worker": "worker",
    "Deployment/sender/sender": "deliver",
    "StatefulSet/store/store": "store",
    "Job/fetch-model/fetch-model": "fetch",
}
"""Each container's counterpart in the compose file."""
GPU_PODS = {"Deployment/worker"}

each_container = pytest.mark.parametrize(("name", "container"), list(containers()))
each_pod = pytest.mark.parametrize(("name", "pod"), list(pods()))


@pytest.mark.parametrize("version", ["1.30", "1.34", "1.37"])
def test_it_is_what_its_schemas_allow(version: str) -> None:
    for manifest in manifests().values():
        if manifest["kind"] not in CUSTOM:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_kustomization_names_all_that_needs_nothing_besides() -> None:
    kustomization = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())
    files = {f"kubernetes/{path.name}" for path in (DEPLOY / "kubernetes").glob("*.yaml")}
    apart = {"kubernetes/keda.yaml", "kubernetes/fetch-model.yaml"}
    assert set(kustomization["resources"]) == files - apart
    for generator in kustomization["configMapGenerator"]:
        for file in generator["files"]:
            assert (DEPLOY / file).exists()
    for path in apart:
        manifest = yaml.safe_load((DEPLOY / path).read_text())
        assert manifest["metadata"]["namespace"] == kustomization["namespace"]
    given = {image["name"]: f"{image['newName']}:{image['newTag']}" for image in _images()}
    assert set(given) == {SERVICES[name]["image"] for name in ("api", "worker")}
    fetching = dict(containers())["Job/fetch-model/fetch-model"]
    assert fetching["image"] == given["llava-jobs-worker"]


@each_container
def test_each_container_runs_what_its_counterpart_does(name: str, container: Manifest) -> None:
    service = SERVICE_OF[name]
    if "build" not in SERVICES[service]:
        assert container["image"] == SERVICES[service]["image"]
    if "command" in SERVICES[service]:
        assert container["command"] == command_of(service)
    else:
        assert "command" not in container
    assert "args" not in container


@each_container
def test_probes_are_what_the_compose_file_checks_or_what_is_listened_on(
    name: str, container: Manifest
) -> None:
    ports = {port["name"] for port in container.get("ports", ())}
    checks = [container[kind] for kind in container if kind.endswith("Probe")]
    for probe in checks:
        if "exec" in probe:
            assert probe["exec"]["command"] == check_of(SERVICE_OF[name])
        else:
            [(_, place)] = [(k, v) for k, v in probe.items() if k in {"httpGet", "tcpSocket"}]
            assert place["port"] in ports
            assert place.get("path", "/healthz") in {"/healthz", "/readyz"}
    assert checks or name == "Job/fetch-model/fetch-model"
    if name == "Deployment/worker/worker":
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)


@each_container
def test_each_variable_is_a_setting_and_each_secret_comes_by_reference(
    name: str, container: Manifest
) -> None:
    for variable in container.get("env", ()):
        assert variable["name"] in SETTINGS | PASSWORDS | OTHER_VARIABLES
        secret = variable.get("valueFrom", {}).get("secretKeyRef")
        if secret:
            assert secret["name"] == "llava-jobs"
            assert secret["key"] in PASSWORDS | {"LLAVA_JOBS_BOOTSTRAP_KEY"}
        elif "PASSWORD" in variable["name"] or variable["name"].endswith("KEY"):
            pytest.fail(f"{variable['name']} stands there for all to read")
    if name in SERVICE_OF and SERVICE_OF[name] in {"api", "worker", "deliver"}:
        values = {v["name"]: v for v in container["env"]}
        url = SERVICES[SERVICE_OF[name]]["environment"]["LLAVA_JOBS_REDIS_URL"]
        theirs = re.sub(r"\$\{[^}]+\}", "$(STORE_PASSWORD)", url)
        assert values["LLAVA_JOBS_REDIS_URL"]["value"] == theirs
        key = values["STORE_PASSWORD"]["valueFrom"]["secretKeyRef"]["key"]
        assert f"${{{key}:" in url


def test_the_settings_that_all_share_are_settings() -> None:
    assert set(manifests()["ConfigMap/settings"]["data"]) <= SETTINGS


@each_container
def test_no_container_may_do_what_it_need_not(name: str, container: Manifest) -> None:
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in container["resources"]["limits"]
    assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}  # noqa: S108


@each_pod
def test_no_pod_runs_as_root_or_speaks_to_kubernetes(name: str, pod: Manifest) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"].get("runAsUser", 1) != 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    # Otherwise a service called `api` would make variables that look like settings.
    assert pod["enableServiceLinks"] is False
    mounted = {m["name"] for c in pod["containers"] for m in c["volumeMounts"]}
    claimed = {"data"} if name == "StatefulSet/store" else set()
    assert mounted == {volume["name"] for volume in pod.get("volumes", ())} | claimed


def test_pods_have_longer_to_stop_than_they_take() -> None:
    grace = {name: pod.get("terminationGracePeriodSeconds", 30) for name, pod in pods()}
    assert grace["Deployment/worker"] > Settings.model_fields["drain_seconds"].default + 20
    assert grace["Deployment/sender"] > Settings.model_fields["webhook_timeout_s"].default + 5
    api = manifests()["Deployment/api"]["spec"]["template"]["spec"]
    for container in api["containers"]:
        [before] = [int(container["lifecycle"]["preStop"]["exec"]["command"][1])]
        assert grace["Deployment/api"] > before + gunicorn_conf.graceful_timeout + 5


def test_a_worker_has_a_gpu_a_model_and_room_to_hand_pictures_over() -> None:
    worker = dict(containers())["Deployment/worker/worker"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"
    mounts = {mount["mountPath"]: mount for mount in worker["volumeMounts"]}
    dockerfile = (DEPLOY / "worker.Dockerfile").read_text()
    assert "HF_HOME=/models HF_HUB_OFFLINE=1" in dockerfile
    assert mounts["/models"]["readOnly"] is True
    assert "/dev/shm" in mounts  # noqa: S108


def test_voluntary_disruptions_leave_an_api_and_most_workers() -> None:
    found = manifests()
    assert found["PodDisruptionBudget/api"]["spec"]["minAvailable"] == 1
    assert found["Deployment/api"]["spec"]["replicas"] > 1
    assert found["PodDisruptionBudget/worker"]["spec"]["maxUnavailable"] == 1
    for kind in ("api", "worker"):
        budget = found[f"PodDisruptionBudget/{kind}"]["spec"]["selector"]["matchLabels"]
        assert budget == found[f"Deployment/{kind}"]["spec"]["selector"]["matchLabels"]


def test_nobody_speaks_to_whom_it_need_not() -> None:
    found = manifests()
    nothing = found["NetworkPolicy/nothing"]["spec"]
    assert nothing == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    labels = {
        pod["metadata"]["labels"]["app.kubernetes.io/name"]
        for manifest in found.values()
        if (pod := manifest.get("spec", {}).get("template"))
    }
    to_store = found["NetworkPolicy/to-store"]["spec"]["podSelector"]["matchExpressions"][0]
    outward = found["NetworkPolicy/outward"]["spec"]["podSelector"]["matchExpressions"][0]
    assert set(to_store["values"]) == {"api", "worker", "sender"}
    assert set(outward["values"]) == {"api", "sender", "fetch-model"}
    assert set(to_store["values"]) | set(outward["values"]) < labels
    [from_all, from_monitoring] = found["NetworkPolicy/api"]["spec"]["ingress"]
    listening = {c["name"]: c["ports"][0]["containerPort"] for c in _pod("Deployment/api")}
    [to_worker] = found["NetworkPolicy/worker"]["spec"]["ingress"]
    [worker] = _pod("Deployment/worker")
    assert to_worker["ports"] == [{"port": worker["ports"][0]["containerPort"]}]
    assert from_all == {"ports": [{"port": listening["nginx"]}]}
    assert from_monitoring["ports"] == [{"port": listening["api"]}]


def _pod(name: str) -> list[Manifest]:
    found: list[Manifest] = dict(pods())[name]["containers"]
    return found


def _images() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())[
        "images"
    ]
    return found
